"""The vocabulary of metrics: each name carries its unit and, behind a dot, its statistic."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

STATISTICS = ("mean", "p50", "p90", "p95", "p99")


@dataclass(frozen=True, slots=True, kw_only=True)
class Meaning:
    """What a metric is: its unit, which way is better, and its definition."""

    unit: str
    better: str  # "lower", "higher", or "" where neither is
    text: str


DISTRIBUTIONS: Mapping[str, Meaning] = {
    "ttft_ms": Meaning(unit="ms", better="lower", text="Time to first token: request sent to first token received."),
    "tpot_ms": Meaning(
        unit="ms",
        better="lower",
        text="Time per output token: (end-to-end latency - TTFT) / (output tokens - 1), one value a request.",
    ),
    "itl_ms": Meaning(unit="ms", better="lower", text="Inter-token latency: each gap between two chunks of a stream."),
    "e2e_latency_ms": Meaning(unit="ms", better="lower", text="End-to-end latency: request sent to stream ended."),
}

SCALARS: Mapping[str, Meaning] = {
    "input_throughput_tok_s": Meaning(unit="tok/s", better="higher", text="Prompt tokens of completed requests / s."),
    "output_throughput_tok_s": Meaning(unit="tok/s", better="higher", text="Output tokens of completed requests / s."),
    "total_throughput_tok_s": Meaning(unit="tok/s", better="higher", text="Prompt and output tokens together / s."),
    "request_rate_req_s": Meaning(unit="req/s", better="higher", text="Completed requests a second."),
    "goodput_req_s": Meaning(
        unit="req/s", better="higher", text="Completed requests that kept every bound of goals.request_slo, a second."
    ),
    "goodput_share": Meaning(
        unit="1", better="higher", text="Share of all requests that completed and kept every bound of the request SLO."
    ),
    "error_rate": Meaning(unit="1", better="lower", text="Failed requests / all requests, 0 to 1."),
    "completed_requests": Meaning(unit="1", better="higher", text="Number of requests that completed."),
    "failed_requests": Meaning(unit="1", better="lower", text="Number of requests that failed."),
    "duration_s": Meaning(unit="s", better="lower", text="From the first request's start to the last one's end."),
}

SUSTAINED: Mapping[str, Meaning] = {  # of a trial that searches for its load; no load level has them
    "sustained_concurrency": Meaning(
        unit="1",
        better="higher",
        text="The most requests in flight at which every constraint of the goals was kept; 0 where none was.",
    ),
    "sustained_rate_req_s": Meaning(
        unit="req/s",
        better="higher",
        text="The most requests a second that arrived while every constraint of the goals was kept; 0 where none was.",
    ),
}

QUALITY: Mapping[str, Meaning] = {  # of a trial, not of a load level: no benchmark delivers them
    "quality_agreement": Meaning(
        unit="1",
        better="higher",
        text="Agreement with the default's answers, 0 to 1: for each prompt, what both answers have in common from the "
        "start / the longer one's length, in tokens where both servers give them, else in words; the mean over the "
        "prompts.",
    ),
    "quality_logprob_drift": Meaning(
        unit="nat/token",
        better="lower",
        text="Mean absolute difference to the default's log-probabilities, over the tokens that both answers have in "
        "common from the start; the mean over the prompts that have such tokens.",
    ),
}

KV_CACHE: Mapping[str, Meaning] = {  # of a trial too, as far as the server tells
    "kv_cache_retractions": Meaning(
        unit="1",
        better="lower",
        text="Requests that lost their place in the KV cache while the benchmark ran: preemptions by vLLM's counter at "
        "`/metrics`, retractions by SGLang's log (a very long log is cut in its middle). Absent where none were told.",
    ),
}

GAUGES = ("mean", "max")  # statistics of what is seen again and again while a load level is measured

SEEN_GAUGES: Mapping[str, Meaning] = {
    "server_running_requests": Meaning(unit="1", better="", text="Requests that the server works on, as it says."),
    "server_waiting_requests": Meaning(
        unit="1", better="lower", text="Requests that wait in the server's own queue, as it says."
    ),
    "server_kv_cache_use": Meaning(
        unit="1", better="", text="Share of the KV cache that is in use, 0 to 1; of several engines the fullest one's."
    ),
    "server_prefix_hit_share": Meaning(
        unit="1", better="", text="Share of the prompts' tokens that were found in the prefix cache, 0 to 1."
    ),
    "server_cpu_cores": Meaning(
        unit="core", better="", text="CPU time of all processes of the server / time: 1 is one core, always busy."
    ),
    "server_busiest_process_cores": Meaning(
        unit="core", better="", text="The same of the one process of the server that used most since the last look."
    ),
    "server_memory_gib": Meaning(
        unit="GiB", better="", text="Resident memory of all processes of the server; what they share counts for each."
    ),
    "client_cpu_cores": Meaning(
        unit="core", better="", text="CPU time of the load client's busiest process / time: 1 is all that Python has."
    ),
    "host_cpu_use": Meaning(unit="1", better="", text="Share of all CPU time of the worker's machine that was used."),
    "gpu_busy": Meaning(
        unit="1",
        better="",
        text="Share of the time in which a kernel ran, by NVML, 0 to 1; the mean of the server's GPUs.",
    ),
    "gpu_memory_busy": Meaning(
        unit="1",
        better="",
        text="Share of the time in which GPU memory was read or written, by NVML, 0 to 1; the mean of the GPUs.",
    ),
    "gpu_memory_gib": Meaning(unit="GiB", better="", text="Memory in use on all of the server's GPUs, by NVML."),
    "gpu_power_w": Meaning(unit="W", better="", text="What all of the server's GPUs draw, by NVML."),
}

SEEN_COUNTS: Mapping[str, Meaning] = {
    "server_preemptions": Meaning(
        unit="1", better="lower", text="Requests that lost their place in the KV cache during the level."
    ),
    "server_prefix_queries": Meaning(unit="tok", better="", text="Tokens that were looked for in the prefix cache."),
    "server_prefix_hits": Meaning(unit="tok", better="", text="Tokens that were found in it."),
    "server_generated_tokens": Meaning(unit="tok", better="", text="Tokens that the server generated, for anybody."),
}

SEEN_LOOKS: Mapping[str, Meaning] = {
    "looks": Meaning(unit="1", better="", text="How often it was looked while the server was busy."),
    "look_ms": Meaning(unit="ms", better="", text="How long one look took; the mean."),
}

SEEN: Mapping[str, Meaning] = {  # beside the benchmark; no goal may speak of them
    **{f"{name}.{each}": meaning for name, meaning in SEEN_GAUGES.items() for each in GAUGES},
    **SEEN_COUNTS,
    **SEEN_LOOKS,
}

METRICS: Mapping[str, Meaning] = {
    **{f"{name}.{statistic}": meaning for name, meaning in DISTRIBUTIONS.items() for statistic in STATISTICS},
    **SCALARS,
}


def unit(metric: str) -> str:
    """A metric's unit; "1" for a count, a share, and a metric of the user's own."""
    known = METRICS.get(metric) or SUSTAINED.get(metric) or SEEN.get(metric)
    return known.unit if known else "1"


def is_speed(metric: str) -> bool:
    """Whether it is better of a faster server; not known, so false, of a metric of the user's own."""
    return metric in SUSTAINED or metric == "goodput_share" or unit(metric) in {"ms", "s", "tok/s", "req/s"}
