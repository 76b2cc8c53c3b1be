"""The desk for programs: the helpers of the Bickford integration, in Python, with a ledger behind them.

Import it from `render_service` itself.

==========================  ==================================
there                       here
==========================  ==================================
createSoraVideoJob          `RenderDesk.create`
createSoraVideoJobAndPoll   `RenderDesk.create_and_poll`
downloadSoraContent         `RenderDesk.download`
listSoraVideos              `RenderDesk.list`
deleteSoraVideo             `RenderDesk.delete`
recordSoraVideoEvent        `RenderDesk.record`
==========================  ==================================

A job is named by its job id or its video id. A video the ledger does not know is adopted. Errors are those of
the packages behind it (`render_service.runtime.errors`, `decision.errors`, `sora_adapter.errors`,
`ledger.errors`); their messages end with the next step.
"""
