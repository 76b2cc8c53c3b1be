"""An independent server of the OpenAI Videos API that renders small real files; imports nothing of ours.

`server` runs the `app`, whose routes call the `service`. From the bottom up:

- `wire`: routes, request bodies and their fields, the error envelope, the headers of every answer.
- `state`: jobs and their life cycle, characters and uploads in one database, and their API documents.
- `media`: creates the video, thumbnail and spritesheet files; `renderer` decides which exist.
- `webhooks`: endpoints, the outbox of deliveries, and the sender.
- `emulators`: the ways in which other servers differ from the protocol.
- `faults` and `fault_middleware`: failures on demand.
"""
