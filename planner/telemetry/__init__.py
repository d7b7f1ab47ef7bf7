"""Traffic as other systems write it down: access logs, traces, benchmark reports, metrics of vLLM.

``planner.trace_file`` reads single requests with it, ``planner.serving.observed`` makes workloads of all of them.
"""
