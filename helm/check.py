"""Checks the chart: lints it, renders it, validates what it renders, and has presignd read the configuration in it.

Usage: check.py, with the Python of .tools/venv. Needs .tools/bin/helm and a built presignd. Prints every failure; exits 1 if
there is one.
"""

import json
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parent.parent
CHART = ROOT / "helm/presignd"
HELM = ROOT / ".tools/bin/helm"
PRESIGND = pathlib.Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target")) / "debug/presignd"
# The first release that the chart is for, and the newest whose schemas are here.
KUBERNETES = ["1.27", "1.37"]

# What each file of values renders.
EXPECTED = {
    "minimal": {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"},
    "full": {
        "ConfigMap",
        "Deployment",
        "HorizontalPodAutoscaler",
        "NetworkPolicy",
        "PodDisruptionBudget",
        "Service",
        "ServiceAccount",
    },
    "tls": {"ConfigMap", "Deployment", "PodDisruptionBudget", "Service", "ServiceAccount"},
    "open": {"ConfigMap", "Deployment", "NetworkPolicy", "Service"},
}

# Values that must not render, upon the minimal ones, and what the message has to say.
REFUSED = [
    ({"insecure": False}, "tls.secretName"),
    ({"config": {"server": {"insecure": True}}}, "config.server.insecure"),
    ({"config": {"server": {"tls": {}}}}, "config.server.tls"),
    ({"config": {"server": {"listen": "0.0.0.0:1"}}}, "config.server.listen"),
    ({"config": {"server": {"grace": "1s"}}}, "config.server.grace"),
    ({"config": {"callers": []}}, "config.callers"),
    ({"config": {"callers": [{"tenants": ["acme"]}]}}, "match"),
    ({"config": {"tenant": {}}}, "tenant"),
    ({"config": {"telemetry": {"prometheus": {"listen": "0.0.0.0:1"}}}}, "config.telemetry.prometheus"),
    ({"metrics": {"enabled": True, "port": 50051}}, "metrics.port"),
    ({"metrics": {"port": 80}}, "port"),
    ({"replica": 3}, "replica"),
    ({"service": {"headless": True, "type": "LoadBalancer"}}, "type"),
]

failures = []


def check(what, passed, why=""):
    print(f"{'ok    ' if passed else 'FAILED'}  {what}")
    if not passed:
        failures.append(what)
        print(why.strip())


def run(*command, **options):
    """What a command printed, and whether it succeeded."""
    done = subprocess.run(
        list(map(str, command)),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
        **options,
    )
    return done.stdout, done.returncode == 0


def helm(*arguments):
    with tempfile.TemporaryDirectory() as home:
        homes = {f"HELM_{name}_HOME": f"{home}/{name}" for name in ["CACHE", "CONFIG", "DATA"]}
        return run(HELM, *arguments, env={**os.environ, **homes})


def template(*arguments):
    return helm("template", "release", CHART, "--namespace", "presign", *arguments)


def values_file(name):
    return CHART / f"ci/{name}-values.yaml"


def well_formed(manifest, version):
    """Why a manifest is not what Kubernetes takes: empty if it is."""
    try:
        kubernetes_validate.validate(manifest, version, strict=True)
    except (kubernetes_validate.ValidationError, kubernetes_validate.SchemaNotFoundError) as e:
        return f"{type(e).__name__}: {e}"
    return ""


def consistent(manifests):
    """What must agree between manifests and presignd's configuration, as pairs of a name and whether it does."""
    deployment = manifests["Deployment"]["spec"]
    pod = deployment["template"]["spec"]
    container = pod["containers"][0]
    config = yaml.safe_load(manifests["ConfigMap"]["data"]["presignd.yaml"])
    server = config["server"]
    grace = int(server["grace"].removesuffix("s"))
    port = int(server["listen"].rsplit(":")[-1])
    labels = deployment["template"]["metadata"]["labels"]
    yield "the pod outlives the drain", pod["terminationGracePeriodSeconds"] > grace
    yield "the container's port is the one listened on", container["ports"][0]["containerPort"] == port
    annotations = deployment["template"]["metadata"]["annotations"]
    ports = {port["name"]: port["containerPort"] for port in container["ports"]}
    if "prometheus" in config.get("telemetry", {}):
        listen = config["telemetry"]["prometheus"]["listen"]
        yield "the port of metrics is the one listened on", listen == f"0.0.0.0:{ports['metrics']}"
        yield "the port of metrics is annotated", annotations["prometheus.io/port"] == str(ports["metrics"])
    else:
        yield "no port of metrics without metrics", "metrics" not in ports and "prometheus.io/port" not in annotations
    if "NetworkPolicy" in manifests:
        allowed = {port["port"] for rule in manifests["NetworkPolicy"]["spec"].get("ingress", []) for port in rule["ports"]}
        yield "the network's ports are the container's", allowed <= ports.keys()
    for probe in ["readinessProbe", "livenessProbe"]:
        if "tls" in server:
            asked = container[probe]["exec"]["command"]
            yield f"{probe} asks by the configuration", asked[1:3] == ["health", "--config"] and asked[3] in container["args"]
        else:
            yield f"{probe} asks the port listened on", container[probe]["grpc"]["port"] == port
    if "tls" in server:
        mounts = [mount["mountPath"] for mount in container["volumeMounts"]]
        for file in server["tls"].values():
            yield f"{file} is mounted", str(pathlib.Path(file).parent) in mounts
    for kind, selector in [
        ("Deployment", deployment["selector"]["matchLabels"]),
        ("Service", manifests["Service"]["spec"]["selector"]),
        *(
            (kind, manifests[kind]["spec"][place]["matchLabels"])
            for kind, place in [("PodDisruptionBudget", "selector"), ("NetworkPolicy", "podSelector")]
            if kind in manifests
        ),
    ]:
        yield f"{kind} selects the pods", bool(selector) and selector.items() <= labels.items()
    for mount in container["volumeMounts"]:
        yield f"volume {mount['name']} is there", mount["name"] in [v["name"] for v in pod["volumes"]]


def certified(config, directory):
    """The configuration with a certificate that is there, in place of the one that the cluster would mount."""
    files = [f"{directory}/tls.{kind}" for kind in ["crt", "key"]]
    subject = ["-subj", "/CN=presignd", "-addext", "subjectAltName=DNS:presignd"]
    new = ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", *subject]
    run(*new, "-out", files[0], "-keyout", files[1])
    shutil.copy(files[0], f"{directory}/ca.crt")
    return config.replace("/etc/presignd-tls/", f"{directory}/")


def presignd_accepts(name, manifests):
    config = manifests["ConfigMap"]["data"]["presignd.yaml"]
    container = manifests["Deployment"]["spec"]["template"]["spec"]["containers"][0]
    # Secrets that the cluster would supply.
    secrets = {variable["name"]: "check-only" for variable in container.get("env", []) if "valueFrom" in variable}
    if not PRESIGND.is_file():
        check(f"{name}: presignd check", False, f"{PRESIGND} is missing: run cargo build")
        return
    with tempfile.TemporaryDirectory() as directory:
        path = pathlib.Path(directory, "presignd.yaml")
        if "tls" in yaml.safe_load(config)["server"]:
            config = certified(config, directory)
        path.write_text(config)
        output, passed = run(PRESIGND, "check", "--config", path, env={**os.environ, **secrets})
    # It says what each tenant may do: silence is no verdict.
    named = [tenant for tenant in yaml.safe_load(config)["tenants"] if tenant not in output]
    check(f"{name}: presignd check", passed and not named, f"{output}\nnot named: {named}\n{config}")


def check_rendered(name, expected):
    output, passed = helm("lint", "--strict", CHART, "--values", values_file(name))
    check(f"{name}: helm lint", passed, output)
    output, passed = template("--values", values_file(name))
    check(f"{name}: helm template", passed, output)
    if not passed:
        return
    documents = [document for document in yaml.safe_load_all(output) if document]
    manifests = {document["kind"]: document for document in documents}
    kinds = sorted(document["kind"] for document in documents)
    check(f"{name}: renders {len(expected)} manifests", kinds == sorted(expected), f"rendered: {kinds}")
    for kind, manifest in manifests.items():
        for version in KUBERNETES:
            why = well_formed(manifest, version)
            check(f"{name}: {kind} is well-formed in Kubernetes {version}", not why, why)
    for what, agrees in consistent(manifests):
        check(f"{name}: {what}", agrees, output)
    presignd_accepts(name, manifests)


def check_refused(values, message):
    with tempfile.NamedTemporaryFile("w", suffix=".yaml") as file:
        json.dump(values, file)
        file.flush()
        output, rendered = template("--values", values_file("minimal"), "--values", file.name)
    check(f"refused: {json.dumps(values)}", not rendered and message in output, output)


def main():
    output, passed = helm("lint", "--strict", CHART)
    check("default: helm lint", passed, output)
    output, rendered = template()
    says_why = "set `insecure: true`" in output and "at least one tenant" in output
    check("default: refused, because nothing encrypts and nothing is configured", not rendered and says_why, output)
    found = {path.name.removesuffix("-values.yaml") for path in (CHART / "ci").iterdir()}
    check("every file of values is checked", found == set(EXPECTED), str(found))
    for name, expected in EXPECTED.items():
        check_rendered(name, expected)
    for values, message in REFUSED:
        check_refused(values, message)
    print(f"\nhelm: {len(failures)} failed")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
