"""An independent server of the OpenAI Videos API that renders small real files.

From this project it imports only `sora_adapter.serving`, which every server of this API needs.

`server` defines and runs the routes, which call the `service`. From the bottom up:

- `wire`: routes, requests and their checks, refusals, and how connections fail.
- `state`: jobs and their life cycle, characters and uploads in one database.
- `media`: creates the video, thumbnail and spritesheet files; `renderer` decides which exist.
- `webhooks`: endpoints, the outbox of deliveries, and the sender.
- `emulators`: the deviations of other servers from the protocol.
- `faults`: failures on demand.
"""
