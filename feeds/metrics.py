"""What is counted while it happens, one line of meaning each. Gauges are read from the rows when /metrics is asked."""

from prometheus_client import Counter, Gauge, Histogram

GAUGED = 100_000  # rows at most that a gauge counts: a scrape must not take longer the more there is to be done

outbox_sent = Counter("feedsvc_outbox_sent", "Outbox rows that this process published")
redis_down = Counter("feedsvc_home_redis_down", "Home pages that PostgreSQL served alone, since Redis did not answer")
http_seconds = Histogram(
    "feedsvc_http_seconds",
    "Seconds that requests took, by method, route and status",
    ["method", "route", "status"],
    buckets=(0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 10),
)
rate_limits_skipped = Counter("feedsvc_rate_limits_skipped", "Counts for a rate limit that Redis did not take")
rate_limited = Counter("feedsvc_rate_limited", "Requests that were refused since there were too many", ["limit"])
replica_reads = Counter("feedsvc_replica_reads", "Reads that a replica of PostgreSQL answered")
replica_fallbacks = Counter(
    "feedsvc_replica_fallbacks",
    "Reads that the primary answered since no replica was near enough (lagging), or one failed or was too slow (failed)",
    ["reason"],
)
streaming_listeners = Gauge(
    "feedsvc_streaming_listeners", "Connections that listen to streams", multiprocess_mode="livesum"
)
streaming_events = Counter("feedsvc_streaming_events", "Events that streaming processes heard of", ["kind"])
streaming_lost = Counter(
    "feedsvc_streaming_lost", "Events of these that nobody was told of, since a store did not answer"
)
streaming_dropped = Counter("feedsvc_streaming_dropped", "Connections that were closed since they were read too slowly")
