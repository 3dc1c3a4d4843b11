"""What is in deploy/ and .github/workflows, by tools that read it; run by `tests/run deploy`.

Nothing here starts a container, a cluster or a unit (the binary itself is started in a root folder like the image's): it says that they would be understood, and that what they are
understood as keeps the promises of docs/deployment.md. Each check is one function; all of them run, and the first sentence
of each failure is printed.
"""

import http.client
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import tomllib

import helm_python as helm
import jsonschema
import kubernetes_validate
import yaml

ROOT = pathlib.Path(__file__).resolve().parents[2]
DEPLOY = ROOT / "deploy"
TOOLS = pathlib.Path(sys.executable).parent
BINARY = ROOT / "target/debug/mcp-deputy"
# What deploy/build has made, as the image has it; where it was not run, or is an older one, the other says what is said here.
SHIPPED = ROOT / "target/shipped/mcp-deputy"
CHART = DEPLOY / "helm/mcp-deputy"
# What the oldest cluster that the chart takes, and a new one, have.
VERSIONS = ("1.25", "1.36")
KEY = "9f86d081884c7d659a2feaa0c55ad015a3bf4f1b2b0b822cd15d6c15b0f00a08"


class Wrong(Exception):
    """A sentence about what is not as it should be."""


def must(condition, sentence):
    if not condition:
        raise Wrong(sentence)


def run(*command, cwd=ROOT, env=None, status=0):
    done = subprocess.run(
        [str(part) for part in command], cwd=cwd, env=env, text=True, capture_output=True, timeout=900, check=False
    )
    if done.returncode != status:
        raise Wrong(f"{' '.join(map(str, command))} ended with {done.returncode}:\n{done.stdout}{done.stderr}")
    return done.stdout


# --- the checks -------------------------------------------------------------------------------------------------------


def yaml_is_tidy():
    files = [path for path in DEPLOY.rglob("*.yaml") if "templates" not in path.parts]
    run(TOOLS / "yamllint", "--strict", "-c", ROOT / "tests/deploy/yamllint.yaml", *files)
    return f"{len(files)} files"


def dockerfile():
    run(TOOLS / "hadolint", "--failure-threshold", "style", DEPLOY / "Dockerfile")
    lines = (DEPLOY / "Dockerfile").read_text().splitlines()
    last = max(index for index, line in enumerate(lines) if line.startswith("FROM "))
    final = lines[last:]
    must("distroless" in final[0], "the image must have no shell")
    users = [line for line in final if line.startswith("USER ")]
    must(users == ["USER 65532:65532"], f"the image must run as 65532, by number, not {users}")
    must(not any(line.startswith(("RUN ", "ADD ")) for line in final), "nothing is run in an image without a shell")
    must(any("deploy/build " in line for line in lines), "the image must hold the binary that is shipped")
    must("--no-default-features" in (DEPLOY / "build").read_text(), "what is shipped must be built without the sandbox")
    probe = next((line for line in final if line.startswith("HEALTHCHECK ")), "")
    command(json.loads(probe[probe.index("[") :]))


def context():
    """What .dockerignore lets through is enough to build from, and holds nothing else."""
    rules = [line for line in (ROOT / ".dockerignore").read_text().splitlines() if line and not line.startswith("#")]
    must(rules[0] == "*", ".dockerignore must begin by leaving everything out")
    kept = [rule.removeprefix("!") for rule in rules[1:]]
    must(all(rule.startswith("!") for rule in rules[1:]), ".dockerignore must only name what goes in")
    with tempfile.TemporaryDirectory() as folder:
        for name in kept:
            source, target = ROOT / name, pathlib.Path(folder) / name
            target.parent.mkdir(parents=True, exist_ok=True)
            (shutil.copytree if source.is_dir() else shutil.copy2)(source, target)
        # What deploy/build drives its load with.
        for name in ("deploy/build", "tests/bench/src/main.rs", "tests/bench/configs/proxy.toml"):
            must((pathlib.Path(folder) / name).exists(), f"{name} is not in the image's context")
        named = [path.name for path in pathlib.Path(folder).rglob("*")]
        for name in named:
            must(not name.endswith((".key", ".secret", ".env")), f"{name} would go into the image's context")
        # Dependencies were compiled before: this compiles one crate.
        run(
            *("cargo", "check", "--locked", "--quiet", "--no-default-features", "--bin", "mcp-deputy"),
            *("--target-dir", ROOT / "target"),
            cwd=folder,
        )
    return ", ".join(kept)


def bare_root():
    """The binary as it is in the image: a read-only root with its libraries and nothing else, nobody's uid, no privilege."""
    if os.geteuid() != 0:
        return "NOT DONE: only root can make a root folder to run it in"
    if subprocess.run(["unshare", "--mount", "true"], capture_output=True, check=False).returncode != 0:
        return "NOT DONE: no mount namespace can be made here"
    return ", ".join(in_bare_root(binary) for binary in [BINARY] + [SHIPPED] * SHIPPED.exists())


def in_bare_root(binary):
    dockerfile_text = (DEPLOY / "Dockerfile").read_text()
    with tempfile.TemporaryDirectory() as folder:
        root, store = pathlib.Path(folder) / "root", pathlib.Path(folder) / "store"
        for name in ("usr/local/bin", "etc/mcp-deputy", "etc/ssl/certs", "var/lib/mcp-deputy"):
            (root / name).mkdir(parents=True)
        store.mkdir(mode=0o700)
        os.chown(store, 65532, 65532)
        os.chmod(folder, 0o755)
        shutil.copy2(binary, root / "usr/local/bin/mcp-deputy")
        certificates = pathlib.Path("/etc/ssl/certs/ca-certificates.crt")
        must(certificates.exists(), f"{certificates} is needed, as it is in the image")
        shutil.copy2(certificates, root / "etc/ssl/certs")
        for library in libraries(binary):
            target = root / library.relative_to("/")
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(library, target)
        public, admin = free_port(), free_port()
        environment = {
            "MCP_DEPUTY_STORE": "disk:/var/lib/mcp-deputy/data",
            "MCP_DEPUTY_LISTEN": f"127.0.0.1:{public}",
            "MCP_DEPUTY_ADMIN_LISTEN": f"127.0.0.1:{admin}",
            "MCP_DEPUTY_PUBLIC_URL": "https://mcp.example.com",
            "MCP_DEPUTY_UPSTREAM_URL": "http://127.0.0.1:1/mcp",
            "MCP_DEPUTY_CLIENT_ID": "id",
            "MCP_DEPUTY_CLIENT_SECRET": "secret",
        }
        must("MCP_DEPUTY_STORE=" + environment["MCP_DEPUTY_STORE"] in dockerfile_text, "the image's store is elsewhere")
        script = (
            'mount --bind "$0" "$0" && mount -o remount,bind,ro "$0" && mount --bind "$1" "$0/var/lib/mcp-deputy" && '
            'exec setpriv --no-new-privs chroot --userspec=65532:65532 "$0" /usr/local/bin/mcp-deputy serve'
        )
        with subprocess.Popen(
            ["unshare", "--mount", "env", "-i", *[f"{name}={value}" for name, value in environment.items()],
             f"PATH={os.environ['PATH']}", "sh", "-c", script, str(root), str(store)],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        ) as process:
            try:
                for _ in range(200):
                    if process.poll() is not None or answer(admin, "/readyz", "127.0.0.1") == 200:
                        break
                    time.sleep(0.05)
                must(process.poll() is None, f"it ended: {process.stdout.read() if process.poll() is not None else ''}")
                must(answer(admin, "/readyz", "127.0.0.1") == 200, "it does not become ready")
                for health in (["health"], ["health", "--ready"]):
                    inside = ["chroot", "--userspec=65532:65532", root, "/usr/local/bin/mcp-deputy", *health]
                    run(*inside, env={**environment, "PATH": os.environ["PATH"]})
                must(answer(public, "/mcp", "mcp.example.com") == 401, "an MCP request without a token is not challenged")
                must(answer(public, "/mcp", "other.example.com") == 421, "a foreign host is answered")
                process.send_signal(signal.SIGTERM)
                must(process.wait(40) == 0, "it does not drain")
            finally:
                process.kill()
        written = [path for path in store.rglob("*")]
        must(written, "nothing is stored")
        for path in written:
            about = path.lstat()
            must(about.st_uid == 65532 and about.st_mode & 0o077 == 0, f"{path.name} is not its owner's only: {about}")
    return f"{binary.relative_to(ROOT)}: {len(written)} files of its own"


def compose():
    tool = ("docker", "compose") if shutil.which("docker") and has_compose_plugin() else ("docker-compose",)
    values = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
    folder = DEPLOY / "compose"
    refused = subprocess.run([*tool, "config"], cwd=folder, env=values, capture_output=True, text=True, check=False)
    must(refused.returncode != 0, "compose must refuse to start without the values that only the operator knows")
    for line in (folder / ".env.example").read_text().splitlines():
        name, found, value = line.partition("=")
        if found and not line.startswith("#"):
            values[name] = value or "given"
    values["MCP_DEPUTY_KEY"] = KEY
    project = yaml.safe_load(run(*tool, "config", cwd=folder, env=values))
    gateway, server = project["services"]["mcp-deputy"], project["services"]["mcp-server"]
    must(gateway["read_only"] and gateway["cap_drop"] == ["ALL"], "the container must be read-only and without capabilities")
    must("ports" not in server, "the MCP server must not be reachable past the gateway")
    must("front" not in server["networks"], "the MCP server is behind the gateway")
    published = [port if isinstance(port, str) else port.get("host_ip", "") for port in gateway["ports"]]
    must(all(port.startswith("127.0.0.1") for port in published), "without TLS only loopback may be published")
    environment = {name: str(value) for name, value in gateway["environment"].items()}
    checked(None, environment)
    return " ".join(tool)


def kubernetes():
    with tempfile.TemporaryDirectory() as folder:
        shutil.copytree(DEPLOY / "kubernetes", folder, dirs_exist_ok=True)
        folder = pathlib.Path(folder)
        (folder / "proxy.toml.example").rename(folder / "proxy.toml")
        (folder / "secret.env.example").rename(folder / "secret.env")
        rendered = run("kubectl", "kustomize", folder)
    objects(rendered, "kubernetes")


def chart():
    helm.disable_logging()
    four = {
        "publicUrl": "https://mcp.example.com",
        "upstreamUrl": "http://mcp-server:3000/mcp",
        "provider": {"clientId": "Iv1.01"},
        "secret": {"clientSecret": "secret", "encryptionKey": KEY},
    }
    every = {
        **four,
        "provider": {"preset": "github", "clientId": 'quo"te', "more": {"host": "github.example.com", "scopes": ["read:org"]}},
        "trustedProxies": ["10.0.0.0/8"],
        "extraConfig": "[consent]\nmode = \"remember\"",
        "secret": {"existing": "mine"},
        "persistence": {"storageClass": "fast", "size": "2Gi"},
        "ingress": {"enabled": True, "host": "mcp.example.com", "className": "nginx", "tlsSecret": "tls"},
        "networkPolicy": {"from": [{"podSelector": {}}], "upstream": [{"podSelector": {"matchLabels": {"app": "x"}}}]},
        "imagePullSecrets": [{"name": "pull"}],
        "podAnnotations": {"a": "b"},
        "nodeSelector": {"a": "b"},
        "tolerations": [{"key": "a", "operator": "Exists"}],
        "service": {"type": "LoadBalancer"},
        "metrics": {"enabled": True, "from": [{"namespaceSelector": {"matchLabels": {"name": "monitoring"}}}]},
    }
    whole = {"config": (DEPLOY / "kubernetes/proxy.toml.example").read_text(), "secret": {"existing": "mine"}}
    report = helm.lint(str(CHART), values=four, strict=True)
    complaints = [found for found in report["messages"] if found["severity"] > 1]
    must(report["total_charts_linted"] == 1 and not complaints and not report["errors"], f"helm lint: {report}")
    with helm.Chart.load(str(CHART)) as loaded:
        must(loaded.version == loaded.metadata["appVersion"] == version(), "the chart is of another version")
        for name, values in (("four", four), ("every", every), ("whole", whole)):
            files = loaded.render(values, name="demo", namespace="apps")
            objects("\n---\n".join(text for path, text in files.items() if path.endswith(".yaml")), name)
        for values, sentence in (
            ({}, "needed"),
            ({**four, "publicUrl": "http://mcp.example.com"}, "publicUrl"),
            ({**four, "replicas": 2}, "replicas"),
            ({**four, "upstreamUrl": ""}, "upstreamUrl is needed"),
            ({**four, "config": "x"}, "whole proxy.toml"),
            ({**four, "secret": {}}, "secret.clientSecret is needed"),
            ({**four, "ingress": {"enabled": True}}, "ingress.host is needed"),
        ):
            try:
                loaded.render(values, name="demo", namespace="apps")
            except helm.HelmError as error:
                must(sentence in str(error), f"{values} is refused with another sentence: {error}")
            else:
                raise Wrong(f"{values} must be refused")
    return helm.helm_sdk_version()


def unit():
    """With the binary of this build in the place of the installed one."""
    text = (DEPLOY / "systemd/mcp-deputy.service").read_text()
    with tempfile.TemporaryDirectory() as folder:
        path = pathlib.Path(folder) / "mcp-deputy.service"
        path.write_text(text.replace("/usr/local/bin/mcp-deputy", str(BINARY)))
        said = subprocess.run(
            ["systemd-analyze", "verify", "--man=no", path], capture_output=True, text=True, check=False
        )
        # What it says about a unit that it does not understand is no error of it.
        must(said.returncode == 0 and "mcp-deputy.service" not in said.stderr, f"systemd-analyze verify: {said.stderr}")
        run("systemd-sysusers", "--dry-run", DEPLOY / "systemd/mcp-deputy.sysusers")
        run("systemd-analyze", "security", "--offline=yes", "--threshold=20", path)


def schema():
    said = json.loads(run(BINARY, "config", "schema"))
    jsonschema.Draft202012Validator.check_schema(said)
    for text in (ROOT / "proxy.toml", DEPLOY / "kubernetes/proxy.toml.example"):
        jsonschema.validate(tomllib.loads(text.read_text()), said)
    try:
        jsonschema.validate({"publik_url": "x"}, said)
    except jsonschema.ValidationError:
        return
    raise Wrong("the schema takes a key that there is not")


def book():
    """mdBook renders it and has nothing to complain about; links and the table of contents are tests/architecture's."""
    source = ROOT / "docs"
    with tempfile.TemporaryDirectory() as folder:
        done = subprocess.run(
            [TOOLS / "mdbook", "build", "--dest-dir", folder, source], capture_output=True, text=True, check=False
        )
        complaints = [line for line in done.stderr.splitlines() if "WARN" in line or "ERROR" in line]
        must(done.returncode == 0 and not complaints, f"mdbook: {done.stderr}")
        pages = {path.stem for path in pathlib.Path(folder).rglob("*.html")}
    return f"{len(pages)} pages"


def workflows():
    """Understood by GitHub; what they use is a commit and no tag, which somebody could move; tokens may read, but where a job publishes."""
    folder = ROOT / ".github/workflows"
    files = sorted(folder.glob("*.yml"))
    run(TOOLS / "yamllint", "--strict", "-c", ROOT / "tests/deploy/yamllint.yaml", *files)
    run(TOOLS / "check-jsonschema", "--builtin-schema", "vendor.github-workflows", *files)
    run(TOOLS / "zizmor", "--offline", "--quiet", folder)
    for path in files:
        said = yaml.safe_load(path.read_text())
        must(said["permissions"] == {"contents": "read"}, f"{path.name}: the token of every job may read, and no more")
        for name, job in said["jobs"].items():
            needs = job.get("needs", [])
            for needed in [needs] if isinstance(needs, str) else needs:
                must(needed in said["jobs"], f"{path.name}: {name} needs {needed}, which there is not")
            may = job.get("permissions")
            runs = [step for step in job["steps"] if "run" in step]
            must(not (may and runs), f"{path.name}: {name} runs something while it may {may}")
    return ", ".join(path.name for path in files)


# --- what they share --------------------------------------------------------------------------------------------------


def version():
    return tomllib.loads((ROOT / "Cargo.toml").read_text())["package"]["version"]


def libraries(binary):
    """What the loader needs for it."""
    for line in run("ldd", binary).splitlines():
        path = next((word for word in line.split() if word.startswith("/")), None)
        if path:
            yield pathlib.Path(path)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def answer(port, path, host):
    """The status of a GET; None where nobody answers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=2)
    try:
        connection.request("GET", path, headers={"host": host})
        return connection.getresponse().status
    except OSError:
        return None
    finally:
        connection.close()


def has_compose_plugin():
    return subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode == 0


def command(argv):
    """A command line that an image, a probe or a unit has: our binary understands it."""
    must(argv[0] == "/usr/local/bin/mcp-deputy", f"{argv} is not our binary")
    run(BINARY, *argv[1:], "--help")


def checked(text, environment):
    """The configuration is one that `mcp-deputy check` takes."""
    with tempfile.TemporaryDirectory() as folder:
        if text is not None:
            (pathlib.Path(folder) / "proxy.toml").write_text(text)
        run(BINARY, "check", cwd=folder, env=environment)


def objects(rendered, name):
    """Judged by the schemas of Kubernetes, and by what docs/deployment.md promises of them."""
    found = [it for it in yaml.safe_load_all(rendered) if it]
    kinds = sorted(it["kind"] for it in found)
    for it in found:
        for release in VERSIONS:
            try:
                kubernetes_validate.validate(it, release, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise Wrong(f"{name}: {it['kind']} {release}: {error}") from error
    for kind in ("ConfigMap", "Deployment", "NetworkPolicy", "PersistentVolumeClaim"):
        must(kinds.count(kind) == 1, f"{name}: one {kind}, not {kinds}")
    for service in (it["spec"] for it in found if it["kind"] == "Service"):
        exposed = [port["name"] for port in service["ports"]]
        must(exposed == ["http"] or service["type"] == "ClusterIP", f"{name}: {exposed} for the public")
    must("PodDisruptionBudget" not in kinds, f"{name}: a budget for one Pod only keeps nodes from being drained")
    deployment = next(it for it in found if it["kind"] == "Deployment")["spec"]
    must(deployment["replicas"] == 1 and deployment["strategy"] == {"type": "Recreate"}, f"{name}: one, recreated")
    pod = deployment["template"]["spec"]
    must(pod["automountServiceAccountToken"] is False, f"{name}: no token for the cluster")
    must(pod["terminationGracePeriodSeconds"] > 20, f"{name}: time to drain")
    restricted(pod, name)
    gateway = pod["containers"][0]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        must(set(gateway[probe]) & {"exec", "httpGet", "tcpSocket"} == {"exec"}, f"{name}: {probe} by a command")
        command(gateway[probe]["exec"]["command"])
    must(f":{version()}" in gateway["image"], f"{name}: the image is of another version")
    config = next(it for it in found if it["kind"] == "ConfigMap")["data"]["proxy.toml"]
    ports = {port["name"] for port in gateway["ports"]}
    policy = next(it for it in found if it["kind"] == "NetworkPolicy")["spec"]["ingress"]
    let_in = [rule["ports"][0]["port"] for rule in policy]
    scraped = "metrics_listen" in config
    must(("metrics" in ports, 9091 in let_in) == (scraped, scraped), f"{name}: metrics are half there: {ports} {let_in}")
    checked(config, {"CLIENT_ID": "id", "CLIENT_SECRET": "secret", "MCP_DEPUTY_KEY": KEY})
    for it in found:
        must(it["kind"] == "Secret" or "secret" not in str(it.get("stringData", "")), f"{name}: a secret outside a Secret")


def restricted(pod, name):
    """The restricted profile of the Pod Security Standards, and a read-only root."""
    of_pod = pod["securityContext"]
    must(of_pod["runAsNonRoot"] is True and of_pod["runAsUser"] > 0, f"{name}: nobody is root")
    must(of_pod["seccompProfile"]["type"] == "RuntimeDefault", f"{name}: seccomp")
    for container in pod["containers"]:
        context = container["securityContext"]
        must(context["allowPrivilegeEscalation"] is False, f"{name}: {container['name']} may gain privileges")
        must(context["capabilities"]["drop"] == ["ALL"], f"{name}: {container['name']} has capabilities")
        must(context["readOnlyRootFilesystem"] is True, f"{name}: {container['name']} may write its root")
    for volume in pod["volumes"]:
        must("hostPath" not in volume, f"{name}: no folder of the node")


CHECKS = [yaml_is_tidy, dockerfile, context, bare_root, compose, kubernetes, chart, unit, schema, book, workflows]


def main():
    failed = 0
    chosen = sys.argv[1:]
    for check in CHECKS:
        if chosen and check.__name__ not in chosen:
            continue
        try:
            print(f"    {check.__name__}: {check() or 'ok'}", flush=True)
        except (Wrong, helm.HelmError, KeyError, OSError, jsonschema.ValidationError) as error:
            failed += 1
            print(f"    {check.__name__}: FAILED: {type(error).__name__}: {error}", flush=True)
    return failed


if __name__ == "__main__":
    sys.exit(1 if main() else 0)
