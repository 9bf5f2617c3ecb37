"""A Kubernetes CronJob, with the volume that its state and output live on."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from string import Template

from pipeline.cli.scheduled import Scheduled
from pipeline.core.schedule import for_kubernetes
from pipeline.errors import UsageError

_WORK, _CONFIG = "/work", "/config"
_MANIFEST = Template("""\
# ${title}: ${when}
# next: ${next}
# The config, again whenever it changes:
#   kubectl create configmap ${name} ${files} --dry-run=client -o yaml \\
#     | kubectl apply -f -
${secret_note}# A first input, and the results, go through a pod that mounts the claim ${name}.
apiVersion: v1
kind: PersistentVolumeClaim
metadata:
  name: ${name}
spec:
  # A block device: on a network file system a lock or a sync may not hold, and the run refuses it.
  accessModes: [ReadWriteOnce]
  resources:
    requests: {storage: 10Gi}
---
apiVersion: batch/v1
kind: CronJob
metadata:
  name: ${name}
spec:
  schedule: ${schedule}
${zone}  concurrencyPolicy: Forbid
  startingDeadlineSeconds: 3600
  jobTemplate:
    spec:
      backoffLimit: 3
      podFailurePolicy:
        rules:
          # A node that goes away is no fault of the run, which goes on where it stopped.
          - action: Ignore
            onPodConditions: [{type: DisruptionTarget, status: "True"}]
          # A config that is wrong (2) and a key or a quota (6) are for a person: trying again changes nothing.
          - action: FailJob
            onExitCodes: {containerName: pipeline, operator: In, values: [2, 6]}
          # Nor does it change dead letters (3), a budget or a deadline (4), or state and files that disagree (5).
          - action: FailJob
            onExitCodes: {containerName: pipeline, operator: In, values: [3, 4, 5]}
      template:
        spec:
          restartPolicy: Never
          # What is in flight when the pod is stopped gets ${drain} s to come back.
          terminationGracePeriodSeconds: ${stop}
          automountServiceAccountToken: false
          securityContext:
            runAsNonRoot: true
            runAsUser: 1000
            fsGroup: 1000
            seccompProfile: {type: RuntimeDefault}
          containers:
            - name: pipeline
              image: ${image}
              workingDir: ${work}
              command: ${command}
              env:
                - {name: PIPELINE_STATE, value: ${work}/usage}
${keys}              securityContext:
                allowPrivilegeEscalation: false
                readOnlyRootFilesystem: true
                capabilities: {drop: [ALL]}
              volumeMounts:
                - {name: work, mountPath: ${work}}
                - {name: config, mountPath: ${config}, readOnly: true}
                - {name: tmp, mountPath: /tmp}
          volumes:
            - name: work
              persistentVolumeClaim: {claimName: ${name}}
            - name: config
              configMap: {name: ${name}}
            - name: tmp
              emptyDir: {}""")


def kubernetes(job: Scheduled, image: str) -> str:
    """Return the manifests.

    Raises:
        UsageError: The config's paths cannot be those of a container, or Kubernetes cannot say the schedule.
    """
    _refuse_paths(job)
    try:
        schedule = for_kubernetes(job.schedule)
    except ValueError as error:
        raise UsageError(str(error)) from None
    name = "pipeline-" + (re.sub(r"[^a-z0-9]+", "-", job.name.lower()).strip("-")[:40] or "run")
    folder = job.config.parent
    files = [path for path in (job.config, folder / "endpoints.yaml", folder / "prices.yaml") if path.exists()]
    command = ["pipeline", "run", f"{_CONFIG}/{job.config.name}", "--stats", "900", *job.flags]
    zone = f"  timeZone: {json.dumps(job.zone.name)}\n" if job.zone.name else ""
    return _MANIFEST.substitute(
        title=job.name,
        when=job.when,
        next=job.next,
        name=name,
        files=shlex.join(f"--from-file={path}" for path in files),
        secret_note=_secret_note(job, name),
        schedule=json.dumps(schedule),
        zone=zone,
        drain=f"{job.loaded.config.drain:g}",
        stop=job.stop_seconds,
        image=json.dumps(image),
        work=_WORK,
        config=_CONFIG,
        command=json.dumps(command),
        keys=_keys(job, name),
    )


def _refuse_paths(job: Scheduled) -> None:
    """A pod has one volume that can be written to, and none of this machine's folders."""
    config = job.loaded.config
    paths = {"input.path": config.input.path, "output.path": config.output.path, "state": config.state}
    for key, path in paths.items():
        if path is not None and (Path(path).is_absolute() or ".." in Path(path).parts):
            raise UsageError(
                f"{key}: {path!r} is no path of a container: it runs on a volume at {_WORK}, where only relative paths "
                "lead, without {here}"
            )


def _keys(job: Scheduled, name: str) -> str:
    return "".join(
        f"                - {{name: {key}, valueFrom: {{secretKeyRef: {{name: {name}, key: {key}}}}}}}\n"
        for key in job.keys
    )


def _secret_note(job: Scheduled, name: str) -> str:
    if not job.keys:
        return ""
    files = " ".join(f"--from-file={key}=FILE" for key in job.keys)
    return f"# The secrets, from files that hold each alone:\n#   kubectl create secret generic {name} {files}\n"
