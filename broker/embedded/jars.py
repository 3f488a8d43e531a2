"""The jars of Apache Kafka: which ones (jars.lock), and how they come into a cache that all checkouts share.

The list is fixed in the repository with the SHA-256 of each jar, so everybody runs the same bytes, and no dependency
has to be resolved when somebody starts Kafka for the first time. `python -m broker.embedded.jars` makes it anew after
KAFKA_VERSION has changed.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor, as_completed
from dataclasses import dataclass
from pathlib import Path

import platformdirs
from filelock import FileLock, Timeout

from broker.errors import UnavailableError

KAFKA_VERSION = "4.1.1"
"""Exactly-once was proven against this one (docs/architecture.md); newer ones are a change like any other."""

_ROOTS = (
    f"org.apache.kafka:kafka_2.13:{KAFKA_VERSION}",
    # Kafka's own coordinates bring log4j, but nothing that binds slf4j to it: without this one a broker logs nothing.
    "org.apache.logging.log4j:log4j-slf4j-impl:2.24.3",
)

_LOCK = Path(__file__).with_name("jars.lock")

_DOWNLOADS_AT_ONCE = 6
"""45 MB in 46 files: most of the time is spent asking for them."""

Progress = Callable[[str], None]


@dataclass(frozen=True, order=True)
class Jar:
    """One jar of the list: its coordinates (group:artifact:version) and its SHA-256."""

    coordinates: str
    sha256: str

    @property
    def file_name(self) -> str:
        """As Maven names it."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def default_cache() -> Path:
    """Where what was downloaded is kept: NOTICEWIRE_CACHE, or the user's cache folder. All checkouts share it."""
    named = os.environ.get("NOTICEWIRE_CACHE")
    return Path(named) if named else platformdirs.user_cache_path("noticewire")


def locked_jars() -> list[Jar]:
    """The list, as the repository fixes it."""
    lines = _LOCK.read_text(encoding="ascii").splitlines()
    return [Jar(*reversed(line.split())) for line in lines if line and not line.startswith("#")]


def jars_folder(cache: Path, progress: Progress) -> Path:
    """The folder with the jars; it is complete. Downloads them the first time, afterwards never uses the network.

    Args:
        cache: the folder that all checkouts share.
        progress: is told what goes on, a line at a time.

    Raises:
        UnavailableError: they are not there and could not be had; the message says what was tried.
    """
    folder = _folder(cache)
    if folder.is_dir():  # it gets this name only when it is complete
        return folder
    try:
        cache.mkdir(parents=True, exist_ok=True)
        with _locked(cache, progress):
            if not folder.is_dir():
                for left in cache.glob(
                    "part-*"
                ):  # of a download that was killed; nobody else is at it, we hold the lock
                    shutil.rmtree(left, ignore_errors=True)
                with tempfile.TemporaryDirectory(prefix="part-", dir=cache) as part:
                    _download(locked_jars(), Path(part), progress).rename(folder)
    except OSError as error:
        message = f"The cache for Apache Kafka's jars cannot be used: {error}. NOTICEWIRE_CACHE names another folder."
        raise UnavailableError(message) from error
    return folder


def spoiled_jars(cache: Path) -> list[str] | None:
    """The names of jars that are missing or not what the list says; None where they were never fetched."""
    folder = _folder(cache)
    if not folder.is_dir():
        return None
    return [jar.file_name for jar in locked_jars() if not _is_whole(folder / jar.file_name, jar.sha256)]


def _is_whole(path: Path, sha256: str) -> bool:
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest() == sha256
    except OSError:
        return False


def _folder(cache: Path) -> Path:
    digest = hashlib.sha256(_LOCK.read_bytes()).hexdigest()[:8]
    return cache / f"kafka-{KAFKA_VERSION}-{digest}"


@contextlib.contextmanager
def _locked(cache: Path, progress: Progress) -> Iterator[None]:
    lock = FileLock(cache / "kafka.lock")
    try:
        lock.acquire(timeout=0)
    except Timeout:
        progress("Another process is downloading Apache Kafka; waiting for it")
        lock.acquire()
    try:
        yield
    finally:
        lock.release()


def _download(jars: list[Jar], part: Path, progress: Progress) -> Path:
    """Fetch into `part`; return the subfolder that holds exactly the jars, each with the digest it must have."""
    tried: list[str] = []
    for way, fetch in (("jgo", _with_jgo), ("mvn", _with_maven)):
        try:
            files = fetch(jars, part / way, progress)
            complete = part / f"{way}-complete"
            complete.mkdir()
            for jar in jars:
                _keep(jar, files[jar], complete)
        except Exception as error:  # noqa: BLE001 - jgo raises RuntimeError, requests' errors, AssertionError...
            tried.append(f"{way}: {error}")
        else:
            return complete
    message = f"The jars of Apache Kafka {KAFKA_VERSION} cannot be had. Tried:\n  " + "\n  ".join(tried)
    raise UnavailableError(message)


def _keep(jar: Jar, file: Path, folder: Path) -> None:
    found = hashlib.sha256(file.read_bytes()).hexdigest()
    if found != jar.sha256:
        message = f"{jar.coordinates} has SHA-256 {found}, and jars.lock says {jar.sha256}"
        raise ValueError(message)
    shutil.move(file, folder / jar.file_name)


def _with_jgo(jars: list[Jar], repository: Path, progress: Progress) -> dict[Jar, Path]:
    from jgo.maven import MavenContext  # noqa: PLC0415 - 0.7 s, needed once on a machine

    maven = MavenContext(repo_cache=repository)
    progress(f"Downloading Apache Kafka {KAFKA_VERSION}")

    def fetch(jar: Jar) -> Path:
        group, name, version = jar.coordinates.split(":")
        return Path(maven.project(group, name).at_version(version).artifact().resolve())

    files: dict[Jar, Path] = {}
    with ThreadPoolExecutor(_DOWNLOADS_AT_ONCE) as pool:
        running = {pool.submit(fetch, jar): jar for jar in jars}
        try:
            for future in as_completed(running):
                files[running[future]] = future.result()
                if len(files) % 10 == 0 or len(files) == len(jars):
                    progress(f"Downloading Apache Kafka {KAFKA_VERSION}: {len(files)} of {len(jars)} jars")
        except BaseException:  # also Ctrl-C: do not wait for those that have not begun
            pool.shutdown(wait=False, cancel_futures=True)
            raise
    return files


def _with_maven(jars: list[Jar], repository: Path, progress: Progress) -> dict[Jar, Path]:
    """Maven itself, which knows the mirror and the proxy that its user has configured."""
    program = shutil.which("mvn")
    if program is None:
        message = "not on the path"
        raise FileNotFoundError(message)
    for root in _ROOTS:
        progress(f"Downloading {root} with Maven")
        subprocess.run(  # noqa: S603 - a fixed command
            [program, "-B", "-q", f"-Dmaven.repo.local={repository}", "dependency:get", f"-Dartifact={root}"],
            check=True,
            capture_output=True,
            stdin=subprocess.DEVNULL,
        )
    found = {file.name: file for file in repository.rglob("*.jar")}
    return {jar: found[jar.file_name] for jar in jars}


def _resolve() -> list[Jar]:
    """What the roots need at run time, by jgo.

    Each root alone: together, the second one's parent POM would downgrade kafka-clients to the version that log4j was
    once tested with (jgo 3.2.0).
    """
    from jgo.maven import MavenContext  # noqa: PLC0415

    jars: dict[str, Jar] = {}
    with tempfile.TemporaryDirectory() as repository:
        maven = MavenContext(repo_cache=Path(repository))
        for root in _ROOTS:
            inputs, needed = maven.resolver.resolve([maven.create_dependency(root)])
            for dependency in [*inputs, *(one for one in needed if one.scope in ("compile", "runtime"))]:
                artifact = dependency.artifact
                name = f"{artifact.groupId}:{artifact.artifactId}"
                if name not in jars:  # what Kafka itself asks for wins
                    digest = hashlib.sha256(Path(artifact.resolve()).read_bytes()).hexdigest()
                    jars[name] = Jar(f"{name}:{artifact.version}", digest)
    return sorted(jars.values())


if __name__ == "__main__":
    lines = [f"{jar.sha256} {jar.coordinates}\n" for jar in _resolve()]
    header = f"# Apache Kafka {KAFKA_VERSION} and what it needs to run. Made by: python -m broker.embedded.jars\n"
    _LOCK.write_text(header + "".join(lines), encoding="ascii")
    sys.stdout.write(f"{len(lines)} jars\n")
