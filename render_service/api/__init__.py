"""The Python API: the helpers of the Bickford integration, backed by a ledger.

Import it from `render_service` itself.

==========================  ==================================
Bickford                    sora-ledger
==========================  ==================================
createSoraVideoJob          `RenderDesk.create`
createSoraVideoJobAndPoll   `RenderDesk.create_and_poll`
downloadSoraContent         `RenderDesk.download`
listSoraVideos              `RenderDesk.list`
deleteSoraVideo             `RenderDesk.delete`
recordSoraVideoEvent        `RenderDesk.record`
==========================  ==================================

Methods accept a job id or a video id. A video that the ledger does not know is adopted. Errors come from
`render_service.runtime.errors`, `decision.errors`, `sora_adapter.errors` and `ledger.errors`; their messages
end with the next step.
"""
