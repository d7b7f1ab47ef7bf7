"""What sets every state of a policy on servers: nvidia-smi, DCGM and Redfish. Pure: plan in, texts out.

``apply.sh STATE CLASS`` runs the scripts on the hosts that ``hosts_CLASS.txt`` lists, which is the operator's to write.
The commands are those of ``shared/targets.md``, "Power".
"""

from __future__ import annotations

import json
from shlex import quote

from planner.power.plan import PowerPlan
from planner.render.power_metrics import slug
from planner.render.power_policy import states_of

Caps = dict[str, float]

HEAD = "#!/usr/bin/env bash\n# {about}\nset -euo pipefail\n"

APPLY_SH = """\
#!/usr/bin/env bash
# ./apply.sh STATE CLASS sets a class to a state on every host of its hosts_*.txt (one name a line), over ssh.
# APPLY_WITH picks the tool: nvidia-smi (default) or dcgmi on the hosts, redfish from here (hosts are then BMCs).
set -euo pipefail
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
state="${{1:?state}}" class="${{2:?class}}" tool="${{APPLY_WITH:-nvidia-smi}}"
case "$class" in
{classes}
  *) echo "no such class: $class" >&2; exit 2 ;;
esac
script="$here/${{tool}}_${{state}}_${{file}}.sh"
[[ -r "$script" ]] || {{ echo "no such state or tool: $script" >&2; exit 2; }}
started=()
while read -r host || [[ -n "$host" ]]; do
  [[ -n "$host" ]] || continue
  if [[ "$tool" == redfish ]]; then
    bash "$script" "$host" &
  else
    ssh -o BatchMode=yes -o ConnectTimeout=5 "$host" 'sudo -n bash -s' < "$script" &
  fi
  started+=("$!")
done < "$here/hosts_${{file}}.txt"
failed=0
for one in "${{started[@]}}"; do wait "$one" || failed=1; done
exit "$failed"
"""

REDFISH_SH = """\
#!/usr/bin/env bash
# {about}
# ./{name} BMC, with REDFISH_USER and REDFISH_PASSWORD in the environment.
# CHASSIS_ID and SYSTEM_ID default to 1 and system, GPU_IDS to GPU_SXM_1 and on: names differ by vendor.
set -euo pipefail
: "${{REDFISH_USER:?}}" "${{REDFISH_PASSWORD:?}}"
bmc="${{1:?host of the BMC}}"
here="$(cd "$(dirname "${{BASH_SOURCE[0]}}")" && pwd)"
user="$REDFISH_USER:$REDFISH_PASSWORD"
user="${{user//\\\\/\\\\\\\\}}"
patch() {{ # path of the resource, file of the body; credentials do not appear among the arguments of a process
  printf 'user = "%s"\\n' "${{user//\\"/\\\\\\"}}" |
    curl --config - --fail --silent --show-error --max-time 20 --request PATCH \\
      --header 'Content-Type: application/json' --data "@$here/$2" "https://$bmc/redfish/v1/$1"
}}
{patches}
"""


def commands(plan: PowerPlan) -> dict[str, str]:
    """Scripts and bodies for every state and class, and ``apply.sh``."""
    files: dict[str, str] = {}
    short, states = class_files(plan), states_of(plan)
    caps_power = any("power_w" in caps for of_classes in states.values() for caps in of_classes.values())
    for state, of_classes in states.items():
        for name, caps in of_classes.items():
            files |= _scripts(plan, state, name, short[name], caps, caps_power=caps_power)
    cases = "\n".join(f"  {quote(name)}) file={quote(file)} ;;" for name, file in short.items())
    return files | {"apply.sh": APPLY_SH.format(classes=cases)}


def class_files(plan: PowerPlan) -> dict[str, str]:
    """Part of a file's name for every class: its own name where that is safe and taken by no other."""
    found: dict[str, str] = {}
    for i, priority in enumerate(plan.spec.priorities):
        file = slug(priority.name)
        found[priority.name] = f"{file}-{i}" if file in found.values() else file
    return found


def _scripts(plan: PowerPlan, state: str, name: str, file: str, caps: Caps, *, caps_power: bool) -> dict[str, str]:
    """``caps_power``: some state limits power, so that every state has to set it, or set it back."""
    about = f"Class {' '.join(name.split())!r} in state {state}: {_in_words(caps)}."
    redfish = f"redfish_{state}_{file}"
    bodies = _bodies(plan, name, caps, caps_power=caps_power)
    return {
        f"nvidia-smi_{state}_{file}.sh": HEAD.format(about=about) + _nvidia_smi(caps, caps_power=caps_power),
        f"dcgmi_{state}_{file}.sh": HEAD.format(about=about) + _dcgmi(caps, caps_power=caps_power),
        **{f"{redfish}_{what}.json": json.dumps(body, indent=2) + "\n" for what, body in bodies.items()},
        f"{redfish}.sh": REDFISH_SH.format(
            about=about, name=f"{redfish}.sh", patches=_patches(plan, name, redfish, caps_power=caps_power)
        ),
    }


def _nvidia_smi(caps: Caps, *, caps_power: bool) -> str:
    clock, power = caps.get("clock_mhz"), caps.get("power_w")
    lines = [f"nvidia-smi -lgc 0,{clock:.0f}" if clock is not None else "nvidia-smi -rgc"]
    if power is not None:
        lines.append(f"nvidia-smi -pl {power:.0f}")
    elif caps_power:
        lines += [
            "nvidia-smi --query-gpu=index,power.default_limit --format=csv,noheader,nounits |",
            '  while IFS=", " read -r gpu watts; do nvidia-smi -i "$gpu" -pl "$watts"; done',
        ]
    return "\n".join(lines) + "\n"


def _dcgmi(caps: Caps, *, caps_power: bool) -> str:
    """By group (all GPUs unless ``DCGM_GROUP`` says another); DCGM sets clocks as pairs of memory and SM."""
    clock, power = caps.get("clock_mhz"), caps.get("power_w")
    asked = "clocks.max.memory" if clock is not None else "clocks.max.memory,clocks.max.sm"
    sm = f",{clock:.0f}" if clock is not None else ""
    lines = [
        f'clocks_mhz="$({_first_gpu(asked)}){sm}"',
        'dcgmi config --set -g "${DCGM_GROUP:-0}" -a "${clocks_mhz// /}"',
    ]
    if caps_power:
        lines.append(f"watts={power:.0f}" if power is not None else f'watts="$({_first_gpu("power.default_limit")})"')
        lines.append('dcgmi config --set -g "${DCGM_GROUP:-0}" -P "$watts"')
    return "\n".join(lines) + "\n"


def _first_gpu(field: str) -> str:
    """What nvidia-smi says of the first GPU; ``sed`` reads to the end, so that no pipe breaks."""
    return f"nvidia-smi --query-gpu={field} --format=csv,noheader,nounits | sed -n 1p"


def _bodies(plan: PowerPlan, name: str, caps: Caps, *, caps_power: bool) -> dict[str, object]:
    """What is sent: to each GPU its clocks (DMTF Processor), to the chassis its power limit; null takes it off."""
    clock, power = caps.get("clock_mhz"), caps.get("power_w")
    speed: dict[str, object] = {"ControlMode": "Automatic"}
    if clock is not None:
        speed = {"ControlMode": "Manual", "SettingMax": round(clock)}
    bodies: dict[str, object] = {"gpu": {"OperatingSpeedRangeMHz": speed}}
    if caps_power:
        watts = None if power is None else _chassis_w(plan, name, power)
        bodies["chassis"] = {"PowerControl": [{"PowerLimit": {"LimitInWatts": watts}}]}
    return bodies


def _chassis_w(plan: PowerPlan, name: str, gpu_w: float) -> int:
    """A server with every GPU at ``gpu_w``; of several kinds in a class the largest, so that none is cut deeper."""
    servers = [plan.spec.server_of(w) for w in plan.spec.workloads if w.priority == name]
    return round(max(server.num_gpus * gpu_w + plan.other_w[server.name] for server in servers))


def _patches(plan: PowerPlan, name: str, redfish: str, *, caps_power: bool) -> str:
    most = max((plan.spec.server_of(w).num_gpus for w in plan.spec.workloads if w.priority == name), default=1)
    gpus = " ".join(f"GPU_SXM_{i}" for i in range(1, most + 1))
    lines = [
        f"for gpu in ${{GPU_IDS:-{gpus}}}; do",
        f'  patch "Systems/${{SYSTEM_ID:-system}}/Processors/$gpu" {redfish}_gpu.json',
        "done",
    ]
    if caps_power:
        lines.append(f'patch "Chassis/${{CHASSIS_ID:-1}}/Power" {redfish}_chassis.json')
    return "\n".join(lines)


def _in_words(caps: Caps) -> str:
    units = {"clock_mhz": "clocks up to {:.0f} MHz", "power_w": "{:.0f} W a GPU"}
    return " and ".join(units[kind].format(value) for kind, value in caps.items()) or "no cap"
