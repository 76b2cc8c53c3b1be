"""An independent server of the OpenAI Videos API that renders real small files; imports nothing of ours.

Where things are: `app` the routes, `bodies` what came over the wire, `requests` what it asks for,
`references` the input image, `desk` what is done about it, `resources` how jobs are shown, `errors` the
envelope, `answers` the headers of every answer, `jobs` the durable store, `life` what the clock makes of a
job, `studio` which files exist, `media` how they are made, `server` how it is run.
"""
