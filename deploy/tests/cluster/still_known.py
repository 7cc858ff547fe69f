#!/usr/bin/env python3
"""Whether a node has every report that text_client.py was answered, or a newer one.

    still_known.py REPORT.json GRPCURL HOST:PORT [GRPCURL_FLAG]

The flag is -plaintext unless another is given, such as -insecure for nodes that speak TLS.
"""

import datetime
import json
import subprocess
import sys

report, grpcurl, node = sys.argv[1:4]
flag = sys.argv[4] if len(sys.argv) > 4 else "-plaintext"
newest = json.load(open(report))["newest"]
lost = []
for client, told in newest.items():
    asked = [grpcurl, flag, "-d", json.dumps({"client_id": client}), node, "herd.v1.Locations/Get"]
    answer = subprocess.run(asked, capture_output=True, text=True)
    if answer.returncode != 0:
        lost.append(f"{client}: {answer.stderr.strip()}")
        continue
    time = json.loads(answer.stdout)["location"]["time"].removesuffix("Z").ljust(26, "0")[:26]
    known = datetime.datetime.fromisoformat(time + "+00:00").timestamp()
    if known < float(told) - 1e-6:
        lost.append(f"{client}: told {told}, known {known}")
print(f"{node}: {len(newest) - len(lost)} of {len(newest)} newest reports known", *lost, sep="\n")
sys.exit(1 if lost or not newest else 0)
