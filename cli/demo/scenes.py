"""The eleven scenes of the demo, with the commands you would type.

They stage two policies and a crash. The first policy requires Maria's signature on finals, the second is one
to try out. The crash is a paid create whose answer is delayed, a killed process, and no second bill.
"""

import os
import subprocess
import sys
import uuid
from importlib.resources import files
from pathlib import Path

import click

from cli.demo.servers import (
    FAULT,
    SLOW,
    count_created,
    environment,
    gateway,
    grant_key,
    kill_during_call,
    new_folder,
    run_forgetful_server,
    witness,
)
from cli.demo.stage import Stage, line_with
from cli.exit_codes import ExitCode
from decision.money import format_usd
from ledger.job import Job
from ledger.log.opening import open_ledger
from render_service.evidence.keys import read_verifier
from render_service.provenance.manifest import INSTALL, is_installed

MARIA, ANA = "maria", "ana"
RULE = """
# Finals on sora-2-pro need Maria's signature.
[[approvals]]
code = "PRO_FINALS"
models = ["sora-2-pro"]
purposes = ["final"]
signed_by = ["maria"]

[approvers]
maria = ["{maria}"]

[requesters]
ana = ["{ana}"]
"""
DEAR_DRAFTS = 'draft = [{ model = "sora-2", fit = 40 }, { model = "sora-2-pro", fit = 100 }]'
PROMPT = "Wide tracking shot of a teal coupe on a desert highway, golden hour, heat ripples"
ONE_CHANGE = "Same shot and framing; shift the color palette to crimson and sand."
TWO_CHANGES = "Make it night with neon light, and replace the coupe with a red truck."
CRASH_PROMPT = "Close-up of a teal headlight in heavy rain at night, drops on chrome"
APPLICATION = """\
import time

from openai import OpenAI

client = OpenAI(timeout=1, max_retries=5)  # gives up after a second, and sends the request again
answer = client.videos.with_raw_response.create(prompt="A teal coupe in the rain", seconds="4")
video = answer.parse()
print(f"{video.id} is {video.status} (requests sent again: {answer.retries_taken})")
while video.status not in ("completed", "failed"):
    time.sleep(0.5)
    video = client.videos.retrieve(video.id)
client.videos.download_content(video.id).write_to_file("coupe-sdk.mp4")
print(f"{video.id} is {video.status}, and coupe-sdk.mp4 is here")
"""


READER = """\
import json
import sys
from pathlib import Path

from c2pa import Context, Reader

clip, authority = sys.argv[1:]
trusting = Context.from_dict({"trust": {"trust_anchors": Path(authority).read_text()}})
with open(clip, "rb") as file, Reader("video/mp4", file, context=trusting) as reader:
    manifest = json.loads(reader.json())["manifests"].popitem()[1]
    action = manifest["assertions"][0]["data"]["actions"][0]
    source_type = action["digitalSourceType"].rpartition("/")[2]
    print(f"{reader.get_validation_state()}, {source_type}")
"""


def play_scenes(stage: Stage, out: Path, trace_id: str) -> str:
    """Play all scenes; return the id of the approved film's job."""
    original = _request(stage, out)
    _remixes(stage, out, original)
    _record(stage, trace_id)
    _crash(stage, out)
    with environment({"SORA_SANDBOX_SECONDS": "1"}):
        film = _hold(stage, out)
    _gateway(stage, out)
    _other_policy(stage, out)
    _publish(stage, out, film)
    _witness(stage, out)
    return film


def _request(stage: Stage, out: Path) -> str:
    stage.scene("1  A request: decided, recorded, rendered, checked, stored")
    shot = ["--prompt", PROMPT, "--lighting", "golden hour, long shadows", "--seconds", "4"]
    printed = stage.run("create-and-poll", *shot, "--out", str(out / "coupe.mp4"), "--force")
    stage.result(f"allowed: {line_with(printed, ' because the purpose is ')}")
    job = _newest_job()
    stage.result(f"coupe.mp4: {_facts(job)}")
    return job.job_id


def _remixes(stage: Stage, out: Path, original: str) -> None:
    stage.scene("2  A remix that changes one thing")
    printed = stage.run("remix", "--id", original, "--prompt", ONE_CHANGE)
    stage.result(f"allowed: {line_with(printed, 'the prompt asks for one change')}")
    clip = str(out / "coupe-crimson.mp4")
    stage.run("poll", "--id", _newest_job().job_id, "--out", clip, "--force")
    stage.result(f"coupe-crimson.mp4: {_facts(_newest_job())}")
    stage.scene("3  A remix that would change two things: refused, with what to do instead")
    printed = stage.run("remix", "--id", original, "--prompt", TWO_CHANGES, expect=ExitCode.DENIED)
    reason, _, _ = line_with(printed, "the prompt asks for 2 changes").partition(";")
    stage.result(f"denied, and nothing was sent: {reason}")
    way, _, _ = line_with(printed, "→ make 2 remixes").removeprefix("→ ").partition(", each of ")
    stage.result(f"instead: {way}")


def _record(stage: Stage, trace_id: str) -> None:
    stage.scene("4  The ledger: everything above, in order")
    printed = stage.run("log", "--trace", trace_id)
    records = sum(line.lstrip()[:1].isdigit() and " UTC" not in line for line in printed.splitlines())
    stage.result(f"{records} records: every request, decision, call, file and cost, the denial too")
    stage.scene("5  Is the record intact, and do the jobs follow from it?")
    intact, _, _ = line_with(stage.run("verify"), "intact: ").partition(", root ")
    stage.result(intact)
    stage.result(line_with(stage.run("replay"), "no drift: "))


def _crash(stage: Stage, out: Path) -> None:
    stage.scene("6  A crash in the middle of a paid call: found again, not paid for twice")
    create_command = ["create", "--prompt", CRASH_PROMPT, "--request-key", f"demo-{uuid.uuid4().hex[:8]}"]
    data = new_folder(out)
    with run_forgetful_server(data) as server:
        stage.narrate("a server that makes the next video, and keeps the answer back:")
        stage.show("sandbox", "--data", str(data), "--fault", FAULT, "&")
        stage.show(*create_command, "&")
        kill_during_call(server, create_command)
        stage.narrate("\n$ kill -9 %2", colour="cyan")
        stage.narrate("the server has made the video, and the process died before it heard of it")
        job = _newest_job().job_id
        stage.narrate(
            "\nsent blindly again it would be paid for twice; reconcile looks for it, and creates nothing"
        )
        stage.narrate("(--grace 0: nobody else is submitting just now)")
        line_with(stage.run("reconcile", job, "--grace", "0"), "recovered ")
        stage.narrate("\nthe same request under the same key is the same job, and nothing is sent:")
        stage.run(*create_command)
        clip = str(out / "coupe-rain.mp4")
        stage.run("poll", "--id", job, "--out", clip, "--force", "--poll-interval", "0.2")
        count = _require_one(count_created(server))
        stage.narrate(f"\nthe server's own count of what it created for this: {count}")
        findings = line_with(stage.run("audit"), "no findings")
    stage.result(f"found again after the kill: coupe-rain.mp4, {_facts(_newest_job())}")
    stage.result(f"videos created, by the server's own count: {count}; audit: {findings}")


def _hold(stage: Stage, out: Path) -> str:
    stage.scene("7  A final that another person has to approve")
    key, policy = out / "maria.key", out / "team.toml"
    requester_key = out / "ana.key"
    for file, name in ((key, MARIA), (requester_key, ANA)):
        file.unlink(missing_ok=True)  # of an earlier demo
        stage.run("key", "new", str(file), "--name", name)
    write_team_policy(policy, key, requester_key)
    stage.narrate(f"{policy} is the packaged policy, and a rule: finals on sora-2-pro need Maria's signature")
    stage.narrate("Both sign here, under one login; without Ana's signature the two could be one person")
    stage.run("policy", "activate", str(policy), "--reason", "Maria answers for what clients see")
    final = ["--prompt", PROMPT, "--purpose", "final"]
    printed = stage.run("create", *final, "--key", str(requester_key), expect=ExitCode.DENIED)
    _, _, rule = line_with(printed, "a person has to approve it first").partition(", ")
    stage.result(f"Ana's request was held {rule}; nothing was sent")
    job = _newest_job().job_id
    stage.run("approve", job, "--key", str(key), "--reason", "within the budget of the pitch", "--submit")
    line_with(stage.run("explain", job), "approval.granted by maria (identified by signature)")
    clip = str(out / "coupe-final.mp4")
    stage.run("poll", "--id", job, "--out", clip, "--force", "--poll-interval", "0.2")
    stage.result(f"Maria signed; coupe-final.mp4: {_facts(_newest_job())}")
    return job


def _gateway(stage: Stage, out: Path) -> None:
    stage.scene("8  An application with the official SDK: its retry is not billed again")
    application = out / "application.py"
    application.write_text(APPLICATION, encoding="utf-8")
    data = new_folder(out)
    with run_forgetful_server(data, SLOW) as server:
        stage.narrate("a server that takes two seconds for the next video, and the gateway in front of it:")
        stage.show("sandbox", "--data", str(data), "--fault", SLOW, "&")
        granting = ["access", "grant", "application", "--role", "requester"]
        stage.show(*granting)
        key = grant_key(granting)
        stage.narrate(f"{key[:13]}…  (shown once; not repeated in this file)")
        options = ["serve", "--port", "0", "--interval", "0.5"]
        stage.show(*options, "&")
        with gateway(options) as base_url:
            sent = _run_application(stage, application, base_url, key)
        count = _require_one(count_created(server))
        stage.narrate(f"\nthe server's own count of what it created for this: {count}")
        stage.run("log", "--job", _newest_job().job_id)
    _, _, retries = line_with(sent, "(requests sent again: ").rstrip(")").rpartition(" ")
    stage.result(f"through the gateway; requests sent again: {retries}; videos created: {count}")
    stage.result(f"coupe-sdk.mp4: {_facts(_newest_job())}")


def _run_application(stage: Stage, application: Path, base_url: str, key: str) -> str:
    stage.narrate(f"\n$ cat {application}", colour="cyan")
    stage.narrate(APPLICATION)
    command = f"$ OPENAI_BASE_URL={base_url} OPENAI_API_KEY=slk_… python {application.name}"
    stage.narrate(command, colour="cyan")
    ours = {"OPENAI_BASE_URL": base_url, "OPENAI_API_KEY": key, "PYTHONWARNINGS": "ignore"}
    with environment(ours):
        ran = subprocess.run(  # noqa: S603  # the program above
            [sys.executable, application.name],
            cwd=application.parent,
            capture_output=True,
            text=True,
            check=False,
        )
    stage.narrate((ran.stdout + ran.stderr).rstrip("\n"))
    if ran.returncode:
        raise click.ClickException(f"demo: {application} ended with {ran.returncode}")
    return ran.stdout


def _other_policy(stage: Stage, out: Path) -> None:
    stage.scene("9  What would another policy have made of all this?")
    dear = out / "dear.toml"
    write_dear_policy(dear)
    stage.narrate(f"{dear} wants drafts on sora-2-pro; it is tried, not activated")
    printed = stage.run("what-if", "--policy", str(dear))
    stage.result(f"with drafts on sora-2-pro, {line_with(printed, ' would come out differently')}")
    stage.result(line_with(printed, "allowed: "))
    line_with(stage.run("replay", "--decisions"), "no drift: ")


def _publish(stage: Stage, out: Path, film: str) -> None:
    stage.scene("10  The film is published: marked as AI, and read by a reader that is not ours")
    if not is_installed():
        stage.result(f"left out, since it needs the extra c2pa: {INSTALL}")
        return
    certificate, clip = out / "studio.pem", out / "coupe-published.mp4"
    authority = out / "studio.pem.authority.pem"
    for file in (certificate, authority):
        file.unlink(missing_ok=True)  # of an earlier demo
    stage.run("key", "certificate", str(certificate), "--test-ca", "--name", "Demo Studio")
    signed_with = ["--certificate", str(certificate), "--key", str(out / "maria.key")]
    stage.run("publish", film, "--to", str(clip), *signed_with, "--force")
    program = out / "reader.py"
    program.write_text(READER, encoding="utf-8")
    stage.narrate(f"\n$ cat {program}", colour="cyan")
    stage.narrate(READER)
    state = _run_reader(stage, [program.name, clip.name, authority.name], out)
    stage.result(f"C2PA's own reader: {state} (coupe-published.mp4)")
    checked = stage.run("verify-provenance", str(clip), "--trust", str(authority))
    line_with(checked, "the ledger has this record, in its tree")
    position, _, _ = line_with(checked, "record: position ").removeprefix("record: ").partition(" of ")
    stage.result(f"its manifest leads back to {position} of the ledger")


def _run_reader(stage: Stage, arguments: list[str], folder: Path) -> str:
    stage.narrate(f"$ python {' '.join(arguments)}", colour="cyan")
    ran = subprocess.run(  # noqa: S603  # the program above
        [sys.executable, *arguments], cwd=folder, capture_output=True, text=True, check=False
    )
    stage.narrate((ran.stdout + ran.stderr).rstrip("\n"))
    if ran.returncode:
        raise click.ClickException(f"demo: {arguments[0]} ended with {ran.returncode}")
    return line_with(ran.stdout, "trainedAlgorithmicMedia")


def _witness(stage: Stage, out: Path) -> None:
    stage.scene("11  A history that is written anew: a witness refuses to sign it")
    key, old, target = out / "signing.key", out / "old.db", out / "ledger.checkpoint"
    for file in (key, old, target):
        file.unlink(missing_ok=True)  # of an earlier demo
    signing = read_verifier(stage.run("key", "new", str(key), "--format", "text").strip().splitlines()[-1])
    stage.run("backup", str(old))
    stage.run("verify", "--record")
    with witness(signing) as line:
        stage.narrate("\na witness, which another organisation would run, and the policy that names it:")
        stage.narrate(line)
        policy = out / "witnesses.txt"
        policy.write_text(f"{line}\nquorum demo\n", encoding="utf-8")
        publish = ["checkpoint", "--key", str(key), "--witnesses", str(policy)]
        printed = stage.run(*publish, "--publish", str(target))
        size = printed.partition(signing.name)[2].split()[0]
        stage.narrate("\nthe old copy is put back, and something else is written after it:")
        for number in (1, 2):
            stage.run("record", "elsewhere", "--video-id", f"video_forged_{number}", "--ledger", str(old))
        forged = [*publish, "--publish", str(out / "forged.checkpoint"), "--ledger", str(old)]
        stage.run(*forged, expect=ExitCode.INTEGRITY)
    stage.result(f"cosigned with {size} records; with other records refused, and not published")


def write_team_policy(path: Path, maria: Path, ana: Path) -> None:
    """Write the packaged policy with an approval rule for finals and the keys of both people."""
    named = _read_packaged_policy().replace('name = "default"', 'name = "team"')
    path.write_text(
        named + RULE.format(maria=read_verifier(str(maria)), ana=read_verifier(str(ana))), encoding="utf-8"
    )


def write_dear_policy(path: Path) -> None:
    """Write the packaged policy with drafts on the more expensive model."""
    lines = (
        DEAR_DRAFTS if line.startswith("draft =") else line for line in _read_packaged_policy().splitlines()
    )
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")


def _read_packaged_policy() -> str:
    return files("decision").joinpath("policy.toml").read_text(encoding="utf-8")


def _newest_job() -> Job:
    with open_ledger(os.environ["SORA_LEDGER_URL"]) as ledger:
        return ledger.jobs(limit=1)[0]


def _facts(job: Job) -> str:
    return f"{job.model}, {job.size}, {job.seconds} s, {format_usd(job.settled_usd_micros or 0)}"


def _require_one(count: int) -> int:
    """Return the count of videos that a server created for one request, which must be one."""
    if count != 1:
        raise click.ClickException(f"demo: the server created {count} videos for one request, expected 1")
    return count
