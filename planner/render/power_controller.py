"""A controller that follows a row's policy, and the systemd unit that runs it. Pure: plan in, texts out."""

from __future__ import annotations

from importlib import resources

from planner.power.plan import PowerPlan
from planner.render.power_metrics import row_name
from planner.render.power_policy import policy

UNIT = """\
# /etc/systemd/system/gpuplan-row-controller.service
# Copy row_controller.py, policy.json and, to act, the files of `gpuplan render --target commands` to /opt/gpuplan.
# It only logs what it would do. To let it act, once the log looks right, `systemctl edit` it:
#   [Service]
#   ExecStart=
#   ExecStart=/usr/bin/python3 /opt/gpuplan/row_controller.py --policy /opt/gpuplan/policy.json \\
#     --prometheus http://localhost:9090 --act --command "bash /opt/gpuplan/apply.sh"
#   User=gpuplan
#   DynamicUser=no
#   ProtectHome=read-only
# hosts_*.txt name the servers of each class; ssh needs the key of that user.
[Unit]
Description=Power policy of row {row}, made by gpuplan
After=network-online.target
Wants=network-online.target
StartLimitIntervalSec=0

[Service]
Type=exec
ExecStart=/usr/bin/python3 /opt/gpuplan/row_controller.py --policy /opt/gpuplan/policy.json --prometheus http://localhost:9090
Restart=always
RestartSec={restart_s:g}
DynamicUser=yes
NoNewPrivileges=yes
ProtectSystem=strict
ProtectHome=yes
PrivateTmp=yes
PrivateDevices=yes
RestrictAddressFamilies=AF_INET AF_INET6 AF_UNIX

[Install]
WantedBy=multi-user.target
"""


def controller(plan: PowerPlan) -> dict[str, str]:
    """The controller, the policy that it reads, and its unit."""
    source = resources.files("planner.render").joinpath("power_row_controller.py").read_text(encoding="utf-8")
    restart_s = plan.spec.controls.telemetry_interval_s
    return {
        "row_controller.py": source,
        "policy.json": policy(plan)["policy.json"],
        "gpuplan-row-controller.service": UNIT.format(row=row_name(plan), restart_s=restart_s),
    }
