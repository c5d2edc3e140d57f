"""Whether PostgreSQL, Ray and Kubernetes answer, and what to type when one of them does not.

Belongs here: looking at what `$DAGSTER_HOME/dagster.yaml` names, and turning the errors of those services into
`DistractedError`. Does not belong here: opening the instance (`instance`), choosing the executor (`executors`).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from distracted_pipeline.advice import install
from distracted_pipeline.errors import DistractedError

CONFIG = "dagster.yaml"
TIMEOUT_S = 10
_RAY_DENIES = "ray.exceptions.AuthenticationError"
_EXTRA_OF = {
    "dagster_ray": "ray",
    "ray": "ray",
    "dagster_k8s": "k8s",
    "kubernetes": "k8s",
    "dagster_postgres": "postgres",
    "psycopg2": "postgres",
}


def extra_missing(extra: str) -> str:
    """Return what to type when an optional dependency is not installed."""
    return f"the extra [{extra}] is not installed. Type: {install(extra)}"


@contextmanager
def explained(home: Path) -> Iterator[None]:
    """Turn what PostgreSQL, Ray, Kubernetes and Dagster's configuration raise into words; bugs pass as they are.

    Args:
        home: Dagster's home, whose `dagster.yaml` named the service.

    Raises:
        DistractedError: Says what does not answer, where it was configured, and what to type.
    """
    try:
        yield
    except DistractedError:
        raise
    except Exception as error:
        words = explain(error, home / CONFIG)
        if words is None:
            raise
        raise DistractedError(words) from error


def explain(error: BaseException, config: Path) -> str | None:
    """Return what an error of a service or of Dagster's configuration means to a person; None for any other."""
    for cause in _causes(error):
        kind, said = f"{type(cause).__module__}.{type(cause).__name__}", str(cause)
        if isinstance(cause, ModuleNotFoundError):
            name = (cause.name or "").partition(".")[0]
            if name == "psycopg":
                return (
                    f"PostgreSQL storage in {config}: the scheme `postgresql` means psycopg 3, which is not installed. "
                    "Begin DAGSTER_POSTGRES_URL with postgresql+psycopg2:// (or set `scheme: postgresql+psycopg2`)."
                )
            if name in _EXTRA_OF:
                return f"{config} names {name}, but {extra_missing(_EXTRA_OF[name])}"
        if kind == "psycopg2.OperationalError":
            return _postgres(said, config)
        if kind == "dagster._core.errors.DagsterInvalidConfigError":
            return _configuration(cause, config)
        if kind == "sqlite3.OperationalError" and "no such " in said:
            return (
                f"Dagster's history in {config.parent} was written by another version of Dagster ({said}). "
                "Type `dagster instance migrate`, or move the folder away: it holds history only, no results."
            )
        if kind == _RAY_DENIES or (isinstance(cause, ConnectionError) and "Ray" in said):
            return _ray(kind, said, config)
        if kind.startswith(("kubernetes.", "urllib3.")):
            return _kubernetes(cause, config)
    return None


def check_services(home: Path) -> list[str]:
    """Return the services that `dagster.yaml` of this home names and that answer, in words.

    Looks only: no table is created, nothing is launched. Without a `dagster.yaml`, or with SQLite and the default
    launcher, there is nothing to ask.

    Raises:
        DistractedError: One does not answer.
    """
    if not (home / CONFIG).exists():
        return []
    from dagster._check import CheckError
    from dagster._core.instance.ref import InstanceRef

    answers = []
    with explained(home):
        try:
            ref = InstanceRef.from_dir(str(home))
        except (CheckError, TypeError, AttributeError) as error:  # a value of another kind than Dagster expects
            why = str(error).splitlines()[0]
            raise DistractedError(
                f"{home / CONFIG} is not as Dagster wants it ({why}). Correct it, or move it away: the shipped one "
                "takes its place."
            ) from error
        if ref.storage_data and ref.storage_data.class_name == "DagsterPostgresStorage":
            answers.append(_ask_postgres(ref.storage_data))
        if ref.run_launcher_data and ref.run_launcher_data.module_name.startswith("dagster_ray"):
            answers.append(_ask_ray(ref.run_launcher))
        if ref.run_launcher_data and ref.run_launcher_data.module_name.startswith("dagster_k8s"):
            answers.append(_ask_kubernetes(ref.run_launcher))
    return answers


def _ask_postgres(data: Any) -> str:
    import sqlalchemy
    from dagster._config import process_config, resolve_to_config_type
    from dagster._core.errors import DagsterInvalidConfigError
    from dagster._core.storage.config import pg_config
    from dagster_postgres.utils import pg_url_from_config

    schema = resolve_to_config_type(pg_config())
    config = process_config(schema, data.config_dict)
    if not config.success or config.value is None:
        raise DagsterInvalidConfigError("storage", config.errors or [], data.config_dict)
    url = sqlalchemy.make_url(pg_url_from_config(config.value))
    engine = sqlalchemy.create_engine(url, connect_args={"connect_timeout": TIMEOUT_S})
    engine.connect().close()
    engine.dispose()
    return f"PostgreSQL at {url.host}:{url.port or 5432}, database {url.database}"


def _ask_ray(launcher: Any) -> str:
    launcher.client.list_jobs()  # asks for the token; the version, which the client has asked for, may not need one
    return f"Ray at {launcher.address}"


def _ask_kubernetes(launcher: Any) -> str:
    launcher._api_client.batch_api.list_namespaced_job(launcher.job_namespace, limit=1, _request_timeout=TIMEOUT_S)
    return f"Kubernetes, namespace {launcher.job_namespace}"


def _postgres(said: str, config: Path) -> str:
    first = said.strip().splitlines()[0]
    if "authentication failed" in said or "no password supplied" in said:
        advice = "Correct username and password in DAGSTER_POSTGRES_URL, which its `storage:` section reads"
    elif "does not exist" in said:
        advice = "Create it (createdb NAME), or name another one in DAGSTER_POSTGRES_URL"
    else:
        advice = "Start PostgreSQL, or correct host and port in DAGSTER_POSTGRES_URL (pg_isready tells)"
    return f"PostgreSQL, configured in {config}: {first}. {advice}; then type: distracted doctor"


def _ray(kind: str, said: str, config: Path) -> str:
    where = f"Ray, configured in {config} (run_launcher: ... address) or by RAY_API_SERVER_ADDRESS"
    first = said.strip().splitlines()[0]
    if kind == _RAY_DENIES:
        return (
            f"{where}: {first}. Set RAY_AUTH_MODE=token and RAY_AUTH_TOKEN_PATH (or RAY_AUTH_TOKEN) to the token of "
            "the cluster's nodes; then type: distracted doctor"
        )
    return (
        f"{where}: {first} The address is the dashboard's, http://HEAD:8265. Start the cluster as docs/cluster.md "
        "says, or correct the address; then type: distracted doctor"
    )


def _kubernetes(cause: BaseException, config: Path) -> str:
    where = f"Kubernetes, configured in {config} (run_launcher:)"
    status = getattr(cause, "status", None)
    if status in (401, 403):
        return (
            f"{where}: access denied ({status} {getattr(cause, 'reason', '')}). The service account needs the role in "
            "deploy/k8s/manifests.yaml: kubectl apply -f deploy/k8s/manifests.yaml"
        )
    if "config_exception" in type(cause).__module__:
        return (
            f"{where}: no credentials ({cause}). Inside the cluster run this in a pod with a service account; outside, "
            "set load_incluster_config: false and kubeconfig_file there, and type: kubectl cluster-info"
        )
    return f"{where}: {str(cause).strip().splitlines()[0]} Type: kubectl cluster-info"


def _configuration(cause: BaseException, config: Path) -> str:
    errors = getattr(cause, "errors", None) or []
    said = " ".join(error.message.split(" Expected:")[0].strip() for error in errors) or str(cause).splitlines()[0]
    return (
        f"{config}: {said} Correct the file (examples: deploy/), or set the variable it reads; without the file, the "
        "next command writes the shipped one."
    )


def _causes(error: BaseException | None) -> Iterator[BaseException]:
    while error is not None:
        yield error
        error = error.__cause__ or error.__context__
