"""`uv run python -m tests.emulator --port N [--scale S]`: the emulator until it is told to stop.

Prints one line when it is ready and the environment to export; SIGINT or SIGTERM end it cleanly.
"""

from __future__ import annotations

import argparse
import shlex
import signal
import tempfile
from pathlib import Path

from tests.emulator.clock import RealClock, VirtualClock
from tests.emulator.cloud import Cloud
from tests.emulator.server import environment, listen, server


def main() -> None:
    arguments = _arguments()
    cloud = Cloud(VirtualClock() if arguments.virtual_clock else RealClock(), arguments.scale)
    try:
        sock = listen(arguments.port)
    except OSError as error:
        raise SystemExit(f"port {arguments.port}: {error.strerror}; another --port, or 0 for a free one") from None
    address = f"http://127.0.0.1:{sock.getsockname()[1]}"
    with tempfile.TemporaryDirectory(prefix="google-emulator-") as folder:
        exports: dict[str, str] = {}

        def ready() -> None:
            print(f"ready: Google Cloud emulated on {address}, project {arguments.project}", flush=True)
            for name, value in exports.items():
                print(f"export {name}={shlex.quote(value)}", flush=True)

        def seed() -> None:
            cloud.add_project(arguments.project, tuple(arguments.enable))
            exports.update(environment(cloud, arguments.project, address, Path(folder)))

        serving = server(cloud, ready)
        cloud.seed = seed
        seed()
        for each in (signal.SIGINT, signal.SIGTERM):
            signal.signal(each, lambda *_: None)  # uvicorn raises them again after its own clean end
        serving.run(sockets=[sock])
        cloud.close()


def _arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.emulator", description=__doc__)
    parser.add_argument("--port", type=int, default=8085, help="port on 127.0.0.1; 0 takes a free one (default: 8085)")
    parser.add_argument(
        "--scale", type=float, default=0.0, help="factor on Google's latencies (default: 0, no waiting)"
    )
    parser.add_argument("--project", default="emulated-project", help="project that exists from the start")
    parser.add_argument("--enable", nargs="*", default=["all"], help="APIs enabled in it (default: all)")
    parser.add_argument("--virtual-clock", action="store_true", help="time stands still until POST /_emulator/clock")
    return parser.parse_args()


if __name__ == "__main__":
    main()
