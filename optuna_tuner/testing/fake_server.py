"""A deterministic OpenAI-compatible server that keeps exact times and can misbehave in every known way.

    python -m optuna_tuner.testing.fake_server --port 8000 --ttft-ms 50 --itl-ms 5 --misbehave http_500=0.5

It answers GET /health, /v1/models, /props (its settings) and /stats (how late its tokens left), and POST
/v1/chat/completions and /v1/completions. The n-th token of a reply leaves at request + TTFT + (n - 1) * ITL. A prompt's
tokens are its words. All answer 503 until --start-s have passed, as llama.cpp does while it loads.

Where OPTUNA_TUNER_FAKE_GPUS names a folder, it takes the GPUs of CUDA_VISIBLE_DEVICES there before it listens, each by
an exclusive flock of the file of that name, and ends with code 1 when somebody else holds one. With the fake NVML
(`optuna_tuner/testing/fake_nvml` on PYTHONPATH) a study on GPUs can so be rehearsed on a machine without one.
"""

from __future__ import annotations

import argparse
import asyncio
import fcntl
import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from threading import Thread

from optuna_tuner.testing.fake_stream import Behaviour
from optuna_tuner.testing.fake_wire import Fake, FakeConnection
from optuna_tuner.wire.exact_loop import exact_loop

MISBEHAVIOURS: Mapping[str, tuple[float, str]] = {  # name -> the number when none is given, what it does
    "exit_on_start": (1, "=CODE: ends with this code (default 1) when --start-s have passed"),
    "out_of_memory": (1, 'prints "fake: out of memory" and ends with code 1 when --start-s have passed'),
    "bad_flag": (1, "complains about a flag and ends with code 2 at once"),
    "never_ready": (1, "answers 503 for ever"),
    "trickle": (1, "sends every answer, also to /health, one byte a second"),
    "exit_after": (1, "=N: ends with code 1 when request N (default 1) arrives"),
    "http_500": (1, "=SHARE: answers 500 to this share of the requests (default all), spread evenly"),
    "cut": (1, "=SHARE: cuts the connection in mid-stream for this share of the requests (default all)"),
    "hang": (1, "takes requests and never answers them; /health goes on"),
    "hang_after": (1, "=N: hangs from the request after the N-th (default 1) on"),
    "no_usage": (1, "never says how many tokens there were"),
    "html": (1, "answers requests with 200 and a web page"),
    "empty_stream": (1, "answers requests with 200 and a stream without events"),
    "truncated_sse": (1, "ends each stream in the middle of an event, without [DONE]"),
    "wrong_model": (1, "serves another model: /v1/models names it, requests for --model get 404"),
    "zero_tokens": (1, "ends each reply at once, with no token and usage 0"),
    "ignore_sigterm": (1, "does not end on SIGTERM"),
    "orphan": (
        1,
        'leaves a double-forked child in a session of its own, with empty environment; prints "fake: orphan PID"',
    ),
    "drift": (1, "=SHARE: answers with other words in the last share of each reply (default all); not in streams"),
    "unsure": (0.5, "=NATS: gives each token a log-probability that is so much lower (default 0.5)"),
    "waver": (
        0.5,
        "=SHARE: answers wholly otherwise to this share of the requests (default half), spread evenly; not in streams",
    ),
    "retract": (1, "=N: tells after each request that N others (default 1) lost their place in the KV cache"),
    "log_flood": (64, "=MIB: writes so many MiB (default 64) to stderr as fast as they are taken"),
}


LOGPROBS = ("give", "ignore", "refuse")

NUMBERS: Mapping[str, tuple[float, str]] = {  # flag -> its default, which is of its type, and what it is
    "ttft_ms": (50.0, "time to first token"),
    "itl_ms": (5.0, "time between tokens"),
    "start_s": (0.0, "answers 503 for so long after start"),
    "slots": (0, "requests at a time, others queue; 0: no limit"),
    "eos_after": (256, "length of replies without ignore_eos"),
}


def main(argv: Sequence[str] | None = None) -> None:
    """Serve until SIGTERM or SIGINT, then end with code 0."""
    behaviour = _parse(argv)
    if "bad_flag" in behaviour.misbehave:
        _end(2, "fake: error: unrecognized arguments: --no-such-flag")
    _take_gpus()
    if "orphan" in behaviour.misbehave:
        _leave_orphan()
    if "log_flood" in behaviour.misbehave:
        Thread(target=_flood, args=(behaviour.misbehave["log_flood"],), daemon=True).start()
    loop = exact_loop()
    _end_on_signals(loop, stubborn="ignore_sigterm" in behaviour.misbehave)
    fake = Fake(behaviour, loop)
    server = loop.run_until_complete(
        loop.create_server(lambda: FakeConnection(fake), behaviour.host, behaviour.port, backlog=4096)
    )
    host, port = server.sockets[0].getsockname()[:2]
    _say(f"fake: listening on http://{host}:{port}")
    loop.call_later(behaviour.start_s, _started, fake)
    loop.run_forever()


def _end_on_signals(loop: asyncio.AbstractEventLoop, *, stubborn: bool) -> None:
    """By the loop's own pipe: a signal that comes just before the loop begins to wait is not slept over."""
    loop.add_signal_handler(signal.SIGINT, loop.stop)
    if stubborn:
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    else:
        loop.add_signal_handler(signal.SIGTERM, loop.stop)


def _started(fake: Fake) -> None:
    misbehave = fake.behaviour.misbehave
    if "out_of_memory" in misbehave:
        _end(1, "fake: out of memory")
    if "exit_on_start" in misbehave:
        _end(int(misbehave["exit_on_start"]), "fake: ending on start, as asked")
    if "never_ready" not in misbehave:
        fake.ready = True
        _say(f"fake: ready, model {fake.model}")


def _parse(argv: Sequence[str] | None) -> Behaviour:
    kinds = "\n".join(f"  {name:15} {text}" for name, (_, text) in MISBEHAVIOURS.items())
    parser = argparse.ArgumentParser(
        prog="fake_server",
        description=__doc__,
        epilog=f"misbehaviours:\n{kinds}",
        formatter_class=argparse.RawDescriptionHelpFormatter,
        allow_abbrev=False,
    )
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on (default: 127.0.0.1)")
    parser.add_argument("--port", type=int, default=0, help="port; 0 (default) takes a free one and prints it")
    parser.add_argument("--model", default="fake", help="the name that it serves (default: fake)")
    for name, (default, text) in NUMBERS.items():
        said = f"{text} (default: {default:g})"
        parser.add_argument(f"--{name.replace('_', '-')}", type=type(default), default=default, help=said)
    parser.add_argument(
        "--logprobs", choices=LOGPROBS, default="give", help="what a chat that asks for them gets; not in streams"
    )
    parser.add_argument("--record", default="", metavar="FILE", help="append each prompt to this file, as JSON")
    parser.add_argument(
        "--misbehave", action="append", default=[], metavar="KIND[=NUMBER]", help="see below; repeatable"
    )
    args = parser.parse_args(argv)
    return Behaviour(
        model=args.model,
        host=args.host,
        port=args.port,
        ttft_s=args.ttft_ms / 1000,
        itl_s=args.itl_ms / 1000,
        start_s=args.start_s,
        slots=args.slots,
        eos_after=args.eos_after,
        record=args.record,
        logprobs=args.logprobs,
        misbehave=dict(_misbehaviour(parser, text) for text in args.misbehave),
    )


def _misbehaviour(parser: argparse.ArgumentParser, text: str) -> tuple[str, float]:
    name, _, number = text.partition("=")
    if name not in MISBEHAVIOURS:
        parser.error(f"argument --misbehave: unknown kind {name!r}; known: {', '.join(MISBEHAVIOURS)}")
    try:
        return name, float(number) if number else MISBEHAVIOURS[name][0]
    except ValueError:
        parser.error(f"argument --misbehave: {number!r} is no number")


def _say(line: str) -> None:
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def _end(code: int, line: str) -> None:
    sys.stderr.write(line + "\n")
    raise SystemExit(code)


def _take_gpus() -> None:
    """For as long as this process lives, or a child that inherits the descriptor."""
    folder = os.environ.get("OPTUNA_TUNER_FAKE_GPUS")
    for gpu in filter(None, os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")) if folder else ():
        descriptor = os.open(Path(str(folder), gpu), os.O_RDWR | os.O_CLOEXEC)
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _end(1, f"fake: {gpu} is busy: another process holds its memory")


def _leave_orphan() -> None:
    """Double fork and setsid: neither the process group nor the parent's pid leads to it."""
    if child := os.fork():
        os.waitpid(child, 0)
        return
    os.setsid()
    if os.fork():
        os._exit(0)
    _say(f"fake: orphan {os.getpid()}")
    os.execve(sys.executable, [sys.executable, "-S", "-c", "import signal; signal.pause()"], {})  # noqa: S606  no shell


def _flood(mebibytes: float) -> None:
    line = "fake: " + "x" * 1017 + "\n"
    for _ in range(int(mebibytes * 1024)):
        sys.stderr.write(line)


if __name__ == "__main__":
    main()
