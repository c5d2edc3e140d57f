"""What an op needs is said once and reaches both kinds of cluster."""

from distracted_pipeline.orchestration.compute import Compute


def test_a_gpu_op_asks_kubernetes_and_ray_for_the_same() -> None:
    tags = Compute(gpus=1, cpus=8, memory_gib=16).op_tags()
    limits = tags["dagster-k8s/config"]["container_config"]["resources"]["limits"]
    assert limits == {"cpu": "8", "memory": "16Gi", "nvidia.com/gpu": "1"}
    assert tags["dagster-ray/config"] == {"num_cpus": 8, "num_gpus": 1, "memory": 16 * 2**30}


def test_an_op_without_a_gpu_does_not_mention_one() -> None:
    tags = Compute(cpus=2).op_tags()
    assert "nvidia.com/gpu" not in str(tags)
    assert "num_gpus" not in tags["dagster-ray/config"]
