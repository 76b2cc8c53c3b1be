"""An independent server of the OpenAI Videos API that renders real small files; imports nothing of ours.

Where things are: `app` the routes, `bodies` what came over the wire, `requests` what it asks for (`fields`
one by one, `references` the input image, `films` uploaded videos), `service` what is done about it (`drafts`
the job it becomes, `limits` whether it may), `resources` how jobs are shown, `errors` the envelope,
`answers` the headers of every answer, `jobs` and `characters` what is kept in the `database`, `life` what
the clock makes of a job, `studio` which files exist, `media` how they are made, `webhooks` who is told,
`stand_ins` what a permissive sandbox starts with, `server` how it is run.

Around the routes: `faults` what is to go wrong, `mishaps` and `webhook_faults` how it does, `imitations`
other servers' ways; `routes`, `exchange` and `connection` are what such layers need.
"""
