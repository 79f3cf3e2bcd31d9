"""Runs each target for its share of the time; skips by name where atheris has no wheel, but not where it has one."""

import argparse
import platform
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

HERE = Path(__file__).parent
TARGETS = ("native", "legacy")
WITH_WHEEL = {("Linux", "x86_64", minor) for minor in (11, 12, 13)}


def say(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seconds", type=int, default=60, help="for all targets together")
    parser.add_argument("targets", nargs="*", default=TARGETS, metavar="|".join(TARGETS))
    given = parser.parse_args()
    if find_spec("atheris") is None:
        here = platform.system(), platform.machine(), sys.version_info.minor
        say(f"fuzzing: skipped, atheris is not installed for Python 3.{here[2]} on {here[0]} {here[1]}")
        return int(here in WITH_WHEEL)
    seconds = max(1, given.seconds // len(given.targets))
    failed = []
    for target in given.targets:
        say(f"fuzzing: {target}, {seconds} s")
        command = [
            sys.executable,
            str(HERE / f"fuzz_{target}.py"),
            f"-max_total_time={seconds}",
            "-print_final_stats=1",
        ]
        done = subprocess.run(
            command, check=False, stderr=subprocess.STDOUT, stdout=subprocess.PIPE, text=True, errors="replace"
        )
        lines = done.stdout.splitlines()
        if done.returncode:
            failed.append(target)
            say("\n".join(lines[-60:]))
        say("\n".join(line for line in lines if line.startswith(("Done", "stat::"))))
    if failed:
        say(f"fuzzing: findings in {', '.join(failed)}; the inputs lie in build/fuzz, give one to its target to repeat")
    return int(bool(failed))


if __name__ == "__main__":
    sys.exit(main())
