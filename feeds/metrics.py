"""What is counted while it happens, one line of meaning each. Gauges are read from the rows when /metrics is asked."""

from prometheus_client import Counter, Histogram

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
