"""How much has to be installed for a device with Microsoft's SDK: packages and bytes on disk."""

import json
import re
from importlib.metadata import PackageNotFoundError, distribution


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
    print(json.dumps({"packages": len(found), "bytes": sum(sizes)}))


main()
