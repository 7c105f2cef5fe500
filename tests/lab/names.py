"""The name server of a lab's machines, dnsmasq: Google's names lead into the lab, all others are known as here.

Names below `internal` are known in the lab alone. Source: https://cloud.google.com/compute/docs/internal-dns
"""

from __future__ import annotations

from pathlib import Path

from tests.lab.daemon import Daemon
from tests.lab.firewall import METADATA

FIXED = ("no-hosts", "bind-interfaces", "user=root", "local=/internal/", "cache-size=0")


class Names:
    """Which names lead where; a change restarts the server, which takes a moment."""

    def __init__(self, folder: Path, address: str, google: str) -> None:
        """It listens on `address`, port 53; `google` is where Google's services are."""
        self.address = address
        self.leads = {"metadata.google.internal": METADATA, "googleapis.com": google}
        self.configuration = folder / "dnsmasq.conf"
        argv = ["dnsmasq", "--keep-in-foreground", f"--conf-file={self.configuration}", "--log-facility=-"]
        self.server = Daemon(folder, "dnsmasq", argv, (address, 53))

    def start(self) -> None:
        lines = [*FIXED, f"listen-address={self.address}", "pid-file="]
        lines += [f"address=/{name}/{to}" for name, to in self.leads.items()]
        self.configuration.write_text("".join(f"{line}\n" for line in lines))
        self.server.restart()

    def lead(self, name: str, address: str) -> None:
        """Make a name and all names below it lead to an address."""
        self.leads[name] = address
        self.start()

    def stop(self) -> None:
        self.server.stop()
