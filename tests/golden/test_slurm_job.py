"""The command that submits a job, and the script that it is given, word by word."""

import subprocess
from collections.abc import Mapping
from shlex import split

import pytest
from pydantic import JsonValue

from optuna_tuner.deployers.slurm import Slurm
from optuna_tuner.deployers.slurm_options import SlurmOptions
from optuna_tuner.deployers.slurm_request import INHERITED
from optuna_tuner.errors import DeployerError
from optuna_tuner.values import Launch, Model, Request, Slot

MODEL = Model(name="llama", path="/models/llama", tokenizer="/models/llama")
LAUNCH = Launch(
    argv=("vllm", "serve", "/models/llama", "--host", "{host}", "--port", "{port}", "--title", "it's {port} $HOME"),
    env={"VLLM_LOGGING_LEVEL": "INFO"},
    secrets={"HF_TOKEN": "MY_TOKEN"},
    gpus=2,
    model=MODEL,
)
SLOT = Slot(name="slurm-0", host="login", gpus=("slurm-gpu-0", "slurm-gpu-1"), elsewhere=True)
FULL: Mapping[str, JsonValue] = {
    "partition": "gpu,big",
    "account": "lab",
    "qos": "high",
    "gres": "gpu:h100:2",
    "cpus_per_task": 16,
    "mem": "128G",
    "time": "1-00:00:00",
    "constraint": "h100&nvlink",
    "nodelist": "node[01-04]",
    "exclude": "node02",
    "modules": ["cuda/12.4", "gcc"],
    "cwd": "/scratch/me",
    "folder": "/shared/tuner",
    "inherit_env": ["MY_LAB"],
    "ports": [21000, 21009],
    "apptainer": {"image": "/images/vllm.sif", "binds": ["/models:/models:ro"]},
}


def render(launch: Launch = LAUNCH, **options: JsonValue) -> Request:
    labels = {"study": "s1", "attempt": "a1", "worker": "w 1"}
    return Slurm(SlurmOptions.model_validate(options)).render(launch, "tuner-a1", labels, SLOT)


def script(launch: Launch = LAUNCH, **options: JsonValue) -> str:
    return str(render(launch, **options).body["stdin"])


def words(request: Request) -> list[str]:
    argv = request.body["argv"]
    assert isinstance(argv, list)
    return [str(word) for word in argv]


def test_all_that_a_study_may_say_of_a_cluster_is_an_argument() -> None:
    assert render(LAUNCH, **FULL).body["argv"] == [
        "sbatch",
        "--parsable",
        "--job-name=tuner-a1",
        "--comment=optuna-tuner?attempt=a1&study=s1&worker=w+1",
        "--nodes=1",
        "--ntasks=1",
        "--partition=gpu,big",
        "--account=lab",
        "--qos=high",
        "--gres=gpu:h100:2",
        "--cpus-per-task=16",
        "--mem=128G",
        "--constraint=h100&nvlink",
        "--nodelist=node[01-04]",
        "--exclude=node02",
        "--no-requeue",
        "--time=1-00:00:00",
        "--output=/shared/tuner/tuner-a1.log",
        "--open-mode=truncate",
        f"--export={','.join(INHERITED)},MY_LAB,HF_TOKEN",
    ]


def test_the_script_loads_modules_finds_a_port_and_becomes_the_server() -> None:
    assert (
        script(LAUNCH, **FULL)
        == """\
#!/bin/bash
# One server of one trial. It runs as long as its ticket lies in the folder.
folder=$(cd -- /shared/tuner && pwd) || exit
ticket=$folder/tuner-a1.ticket
wanted() { [ -e "$ticket" ] || { sleep 5; [ -e "$ticket" ]; }; }
wanted || { echo 'optuna-tuner: nobody wants this server any more'; exit 1; }
type module >/dev/null 2>&1 || . /etc/profile
module load cuda/12.4 gcc || exit
export PYTHONUNBUFFERED=1
export VLLM_LOGGING_LEVEL=INFO
cd -- /scratch/me || exit
command -v apptainer >/dev/null || { echo 'optuna-tuner: command not found: apptainer'; exit 127; }
host=0.0.0.0 port=21004 tried=0
while (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null; do
  (( port = port < 21009 ? port + 1 : 21000, ++tried <= 21009 - 21000 )) || \
{ echo 'optuna-tuner: no free port'; exit 1; }
done
( ( while sleep 10; do kill -0 $$ || exit; wanted || break; done
    kill -TERM $$; sleep 60; kill -KILL -- -$$ ) </dev/null >/dev/null 2>&1 & )
echo "optuna-tuner: serves on $SLURMD_NODENAME:$port"
exec apptainer exec --nv --bind /models:/models:ro /images/vllm.sif vllm serve /models/llama --host "$host" \
--port "$port" --title 'it'"'"'s '"$port"' $HOME'
"""
    )


def test_without_options_the_job_is_a_program_of_the_node() -> None:
    launch = Launch(argv=("vllm", "serve"), model=MODEL)
    assert script(launch).endswith("exec vllm serve\n")
    assert "module" not in script(launch)
    assert [word for word in words(render(launch)) if "part" in word or "gres" in word] == []


def test_the_engines_image_is_the_containers() -> None:
    launch = Launch(argv=("vllm", "serve"), image="vllm/vllm-openai:v0.32.0", model=MODEL)
    last = script(launch, apptainer={"gpus": False}).splitlines()[-1]
    assert last == "exec apptainer exec docker://vllm/vllm-openai:v0.32.0 vllm serve"
    with pytest.raises(DeployerError, match=r"no image: say engine\.image or deployer\.apptainer\.image"):
        script(Launch(argv=("vllm",), model=MODEL), apptainer={})


def test_over_ssh_every_word_is_quoted_for_the_shell_there() -> None:
    launch = Launch(argv=("vllm",), model=MODEL)
    here = words(render(launch, constraint="a&b"))
    *reach, there = words(render(launch, constraint="a&b", host="me@login1"))
    assert reach == ["ssh", "-oBatchMode=yes", "-oConnectTimeout=15", "me@login1"]
    assert split(there) == here


def test_over_ssh_secrets_are_read_from_standard_input() -> None:
    there = words(render(gpus_per_node="2", host="login1"))
    there = split(there[-1])
    assert there[:2] == ["sh", "-c"]
    taking, name, *submit = there[2:]
    assert submit == words(render(gpus_per_node="2"))
    shown = subprocess.run(
        ["sh", "-c", taking, name, "sh", "-c", 'printf "%s|" "$TOKEN"; cat'],
        input="TOKEN=a 'b' $c=\n\n#!/bin/bash\nthe script\n",
        capture_output=True,
        text=True,
        check=True,
    )
    assert shown.stdout == "a 'b' $c=|#!/bin/bash\nthe script\n"


def test_more_gpus_than_the_job_has_are_refused() -> None:
    with pytest.raises(DeployerError, match=r"wants 2 GPUs, deployer\.gres asks for 1"):
        render(gres="gpu:1")


@pytest.mark.parametrize(
    ("launch", "complaint"),
    [
        (Launch(argv=("echo", "a\0b"), model=MODEL), "NUL character"),
        (Launch(argv=("echo",), env={"A": "\0"}, model=MODEL), "NUL character"),
        (Launch(argv=("echo",), env={"A-B": "1"}, model=MODEL), '"A-B" cannot be the name'),
        (Launch(argv=("echo",), secrets={"A B": "C"}, model=MODEL), '"A B" cannot be the name'),
    ],
)
def test_what_no_script_can_say_is_refused(launch: Launch, complaint: str) -> None:
    with pytest.raises(DeployerError, match=complaint):
        render(launch)
