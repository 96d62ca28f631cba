"""How much has to be installed for a device with Microsoft's SDK: packages and their bytes, and those of
the interpreter with its own library.
"""

import json
import re
import sys
import sysconfig
from importlib.metadata import PackageNotFoundError, distribution
from pathlib import Path

# Folders that are not the interpreter's own, or not needed to run it.
BESIDE = re.compile(r"/(__pycache__|dist-packages|site-packages|test|config-[^/]*)/")


def interpreter():
    library = Path(sysconfig.get_path("stdlib"))
    for file in [Path(sys.executable).resolve(), *library.rglob("*")]:
        if file.is_file() and not BESIDE.search(str(file)):
            yield file.stat().st_size


def main():
    found, wanted = {}, ["azure-iot-device"]
    while wanted:
        name = wanted.pop()
        if name in found:
            continue
        try:
            found[name] = distribution(name)
        except PackageNotFoundError:
            # Another platform's, or an extra's.
            continue
        for requirement in found[name].requires or []:
            if "extra ==" not in requirement:
                wanted.append(re.match(r"[\w.-]+", requirement).group().lower())
    files = [file for one in found.values() for file in one.files or []]
    paths = {file.locate().resolve() for file in files}
    sizes = [path.stat().st_size for path in paths if path.is_file()]
    said = {"packages": len(found), "bytes": sum(sizes), "interpreter": sum(interpreter())}
    print(json.dumps(said))


main()
