"""Settings: read from the environment, then from RUN_DIR/env (the embedded stores' addresses), then the defaults here.

README.md has the table. A wrong value stops the process at start, with one line that names it.
"""

import os
import re
import ssl
import sys
from datetime import timedelta
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import dj_database_url
from celery.schedules import crontab
from environs import Env, EnvError, validate

from feedsvc import workers

BASE_DIR = Path(__file__).resolve().parent.parent
VERSION = "0.1.0"  # as pyproject.toml has it

env = Env()
RUN_DIR = Path(env.str("RUN_DIR", str(BASE_DIR / ".run"))).absolute()
if (RUN_DIR / "env").is_file():
    env.read_env(str(RUN_DIR / "env"), override=False)


def _positive(name: str, default: int) -> int:
    return env.int(name, default, validate=validate.Range(min=1))


def _given(name: str) -> str:
    """There is no sensible default, since `make up` writes the addresses of the embedded servers."""
    value = env.str(name, "")
    if not value:
        raise EnvError(f"{name} is not set: start the service (make up), or give the address of a server of yours")
    return value


def _address(name: str, value: str, *schemes: str) -> str:
    if not value.startswith(tuple(f"{scheme}://" for scheme in schemes)):
        raise EnvError(f"{name} must begin with {' or '.join(f'{scheme}://' for scheme in schemes)}")
    try:
        parts = urlsplit(value)
        parts.port  # noqa: B018  looked at for its exception
    except ValueError as wrong:
        raise EnvError(f"{name} is not an address: {wrong}") from wrong
    # Celery's broker would believe any certificate.
    if parts.scheme == "rediss" and "ssl_cert_reqs=" not in parts.query:
        value += f"{'&' if parts.query else '?'}ssl_cert_reqs=required"
    return value


CLUSTER = ("redis+cluster", "rediss+cluster")


def _nodes(name: str) -> list[str]:
    """Of redis+cluster://user:password@host:port,host:port?options an address for each node; of a single Redis none."""
    if not _given(name).startswith(tuple(f"{scheme}://" for scheme in CLUSTER)):
        return []
    scheme, _, rest = _given(name).partition("+cluster://")
    authority = re.split("[/?#]", rest, maxsplit=1)[0]
    # Of several hosts, one of them an IPv6 address, some Pythons make nothing: they are split here.
    parts = urlsplit(f"//nodes{rest[len(authority) :]}")
    login, at, hosts = authority.rpartition("@")
    if parts.path.strip("/") not in ("", "0"):
        raise EnvError(f"{name} must name no database: a cluster has no other than 0")
    options = f"?{parts.query}" if parts.query else ""
    nodes = [_address(name, f"{scheme}://{login}{at}{host}{options}", scheme) for host in hosts.split(",")]
    if not all(urlsplit(node).hostname for node in nodes):
        raise EnvError(
            f"{name} must name nodes of the cluster, with commas between them: redis+cluster://host:port,host:port"
        )
    return nodes


def _url(name: str, *schemes: str) -> str:
    return _address(name, _given(name), *schemes)


def _several(name: str, value: str, *schemes: str) -> list[str]:
    """Of several servers, with a semicolon between them."""
    each, parts = f"{name}, each address of it,", value.split(";")
    return [_address(each if len(parts) > 1 else name, part, *schemes) for part in parts]


def _urls(name: str, *schemes: str) -> list[str]:
    """Where one does not answer, the next one may."""
    urls = _several(name, _given(name), *schemes)
    if len({url[:4] for url in urls}) > 1:
        raise EnvError(f"{name} must name brokers of one kind: all of them redis://, or all of them amqp://")
    return urls


def _broker_tls(urls: list[str]) -> dict[str, Any] | None:
    """Of amqps://...?ssl_ca_certs=FILE, which Celery takes apart from the address. Without it the machine's own list counts.

    `server_hostname` None becomes the host's name; without that key nobody would look at it.
    """
    if not urls[0].startswith("amqps"):
        return None
    files = parse_qs(urlsplit(urls[0]).query).get("ssl_ca_certs", [None])
    return {"ca_certs": files[0], "cert_reqs": ssl.CERT_REQUIRED, "server_hostname": None}


def _streaming_url(base_url: str, port: int) -> str:
    """Where clients find the streaming process: on the host of BASE_URL, and as safe on the way there."""
    base = urlsplit(base_url)
    host = f"[{base.hostname}]" if ":" in (base.hostname or "") else base.hostname
    return f"{'wss' if base.scheme == 'https' else 'ws'}://{host}:{port}"


def _workers(name: str) -> list[workers.Worker]:
    try:
        return workers.parse(env.str(name, workers.DEFAULT))
    except ValueError as wrong:
        raise EnvError(str(wrong)) from wrong


try:
    # -- development or production
    ENVIRONMENT = env.str("ENVIRONMENT", "development", validate=validate.OneOf(["development", "production"]))
    PRODUCTION = ENVIRONMENT == "production"
    DEBUG = False
    SECRET_KEY = env.str("SECRET_KEY", "" if PRODUCTION else "development only, not a secret, and long enough")
    if len(SECRET_KEY) < 32:
        raise EnvError("SECRET_KEY must be set to 32 characters or more in production")
    PORT = env.int("PORT", 8000, validate=validate.Range(min=1, max=65535))
    HOST = env.str("HOST", "127.0.0.1")
    BASE_URL = env.str("BASE_URL", f"http://localhost:{PORT}").rstrip("/")
    if not BASE_URL.startswith(("http://", "https://")):
        raise EnvError("BASE_URL must begin with http:// or https://")
    STREAMING_PORT = env.int("STREAMING_PORT", min(PORT + 1, 65535), validate=validate.Range(min=1, max=65535))
    STREAMING_URL = env.str("STREAMING_URL", _streaming_url(BASE_URL, STREAMING_PORT)).rstrip("/")
    if not STREAMING_URL.startswith(("ws://", "wss://")):
        raise EnvError("STREAMING_URL must begin with ws:// or wss://")
    ALLOWED_HOSTS = env.list("ALLOWED_HOSTS", ["localhost", "127.0.0.1", "[::1]"] if not PRODUCTION else [])
    if PRODUCTION and not ALLOWED_HOSTS:
        raise EnvError("ALLOWED_HOSTS must be set in production: the host names that people use, comma separated")
    TRUST_PROXY = env.bool("TRUST_PROXY", False)
    METRICS_TOKEN = env.str("METRICS_TOKEN", "")  # without one, nobody sees /metrics in production
    if METRICS_TOKEN and len(METRICS_TOKEN) < 16:
        raise EnvError("METRICS_TOKEN must have 16 characters or more")
    RATE_LIMITS = env.bool("RATE_LIMITS", True)
    # To home timelines, of one author's posts: in an hour a hundredth of what the machine of docs/performance.md delivers.
    PUSHES_PER_HOUR = _positive("PUSHES_PER_HOUR", 20_000_000)
    FOLLOWS_PER_HOUR = _positive("FOLLOWS_PER_HOUR", 200)  # by one account: a newcomer's evening, not a robot's
    SIGN_UPS_PER_ADDRESS = _positive("SIGN_UPS_PER_ADDRESS", 5)  # in half an hour
    # Connections to one process: a few devices, a few columns; and a household, or an office behind one address.
    STREAMS_PER_ACCOUNT = _positive("STREAMS_PER_ACCOUNT", 30)
    STREAMS_PER_ADDRESS = _positive("STREAMS_PER_ADDRESS", 300)
    OAUTH_PASSWORD_GRANT = env.bool("OAUTH_PASSWORD_GRANT", not PRODUCTION)
    ADMIN = env.bool("ADMIN", not PRODUCTION)  # whether /admin/ is there
    LOG_FORMAT = env.str("LOG_FORMAT", "json" if PRODUCTION else "line", validate=validate.OneOf(["json", "line"]))

    # -- servers
    DATABASE_URL = _url("DATABASE_URL", "postgres", "postgresql")
    _replicas = env.str("DATABASE_REPLICA_URLS", "")
    DATABASE_REPLICA_URLS = (
        _several("DATABASE_REPLICA_URLS", _replicas, "postgres", "postgresql") if _replicas else []
    )  # for reads that may lag
    # Seconds. With more, a replica is not asked.
    REPLICA_MAX_LAG = env.int("REPLICA_MAX_LAG", 5, validate=validate.Range(min=1, max=300))
    REDIS_NODES = _nodes("REDIS_URL")  # of a cluster: some of them know the others
    # Home timelines.
    REDIS_URL = _given("REDIS_URL") if REDIS_NODES else _url("REDIS_URL", "redis", "rediss", "unix", *CLUSTER)
    CACHE_URL = _url("CACHE_URL", "redis", "rediss", "unix")
    BROKERS = _urls("CELERY_BROKER_URL", "redis", "rediss", "amqp", "amqps")
    CELERY_BROKER_USE_SSL = _broker_tls(BROKERS)
    if CELERY_BROKER_USE_SSL:
        BROKERS = [url.partition("?")[0] for url in BROKERS]
    # Celery prefers the environment's CELERY_BROKER_URL to this one, but not to these two.
    CELERY_BROKER_URL = CELERY_BROKER_READ_URL = CELERY_BROKER_WRITE_URL = ";".join(BROKERS)
    CELERY_RESULT_BACKEND = _url("CELERY_RESULT_BACKEND", "redis", "rediss")
    os.environ["CELERY_RESULT_BACKEND"] = CELERY_RESULT_BACKEND  # which Celery would read without us

    # -- fan-out
    TIMELINE_LIMIT = _positive("TIMELINE_LIMIT", 800)  # entries of a home timeline in Redis; PostgreSQL has the rest
    FANOUT_BATCH = _positive("FANOUT_BATCH", 10_000)  # followers per batch; fewer than this need no chord
    INACTIVE_DAYS = _positive("INACTIVE_DAYS", 30)  # without a read of home: no timeline in Redis
    PULL_ABOVE = _positive("PULL_ABOVE", 5_000_000)  # followers; with more, new posts are fetched by pages, not pushed
    PULL_BELOW = _positive("PULL_BELOW", 4_000_000)  # with fewer, they are pushed again
    FENCE = _positive("FENCE", 30)  # seconds from a claim to the moment after which Redis refuses its writes
    LEASE = _positive("LEASE", 60)  # seconds from a claim to the moment when another may take over
    TASK_TIME_LIMIT = _positive("TASK_TIME_LIMIT", 30)  # seconds; then a process is killed, and told so at two thirds
    BATCH_ATTEMPTS = _positive("BATCH_ATTEMPTS", 5)  # runs of a batch that end without its closing, then it is dead
    RECONCILE_EVERY = _positive("RECONCILE_EVERY", 10)  # seconds
    OUTBOX_POLL = _positive("OUTBOX_POLL", 1)  # seconds; NOTIFY wakes the relay sooner
    WORKERS = _workers("WORKERS")  # who serves which queues, with how many processes
    # Messages of fan-outs that are sent and not done: one for each process that serves them. Then the next is sent.
    OUTBOX_IN_FLIGHT = _positive("OUTBOX_IN_FLIGHT", sum(each.processes for each in WORKERS if "fanout" in each.queues))

    # -- how long is kept what is done
    KEEP_OUTBOX = timedelta(days=_positive("KEEP_OUTBOX", 7))  # tasks: to see what became of a post
    # Of deliveries without a dead batch, whose counts the delivery has: to see who was slow.
    KEEP_BATCHES = timedelta(days=_positive("KEEP_BATCHES", 30))
    KEEP_NOTIFICATIONS = timedelta(days=_positive("KEEP_NOTIFICATIONS", 90))  # nobody reads that far back
    KEEP_KEYS = timedelta(hours=_positive("KEEP_KEYS", 1))  # Idempotency-Keys: longer than any client tries again
    if PULL_BELOW > PULL_ABOVE:
        raise EnvError("PULL_BELOW must not be greater than PULL_ABOVE")
    if LEASE < FENCE + 10:
        raise EnvError("LEASE must be at least FENCE + 10 seconds, the greatest clock skew that is put up with")
except EnvError as wrong:
    sys.exit(f"feedsvc: {wrong}")

NUDGE_AFTER = LEASE // 2  # seconds until the reconciler publishes a batch again that nobody works on
RESEND_AFTER = LEASE * 3 // 2  # seconds until the relay sends a task again that was sent and is not done
# Pushes to a timeline until it is put in order, and trimmed: a lower number costs pushes, a higher one pages. So many entries
# more than TIMELINE_LIMIT may lie there; readers never see them.
TIDY_EVERY = 32
# Followers per script call: longer calls make readers wait. In a cluster they are dealt out to 128 calls.
PUSH_CHUNK = 10_000 if REDIS_NODES else 1_000
CHORD_MEMBERS = 200  # batches per chord; a larger fan-out comes in waves

INSTALLED_APPS = [
    "django.contrib.admin.apps.SimpleAdminConfig",  # its pages are those of feeds/admin.py, not what each library brings
    "django.contrib.auth",
    "django.contrib.contenttypes",
    "django.contrib.messages",
    "django.contrib.postgres",
    "django.contrib.sessions",
    "corsheaders",
    "oauth2_provider",
    "rest_framework",
    "followers.apps.FollowersConfig",
    "feeds.apps.FeedsConfig",
]
MIDDLEWARE = [
    "feeds.api.operations.MeasureMiddleware",  # with what Django's SecurityMiddleware says
    "feedsvc.middleware.Cors",
    "feeds.api.throttling.RateLimitMiddleware",
    "feedsvc.middleware.Hosts",
    "feedsvc.middleware.PagesOnly",
]
SILENCED_SYSTEM_CHECKS = [
    *("admin.E408", "admin.E409", "admin.E410", "security.W002", "security.W003"),  # miss what PagesOnly contains
    "oauth2_provider.W008",  # redirect URIs with http: native programs listen on 127.0.0.1, and a client may be tried out
    "oauth2_provider.W010",  # PKCE is each application's choice: all have a secret, and many clients of this API know none
    "security.W001",  # what SecurityMiddleware says comes with every answer all the same: api/renderers.py asks it once
]
if PRODUCTION and BASE_URL.startswith("https://"):
    # Browsers ask without TLS no more. Said where a request came by it, as far as is known: behind a proxy by TRUST_PROXY.
    # Of this name alone: others below it may be other people's, and who owns them all lets the proxy say so; a list in
    # browsers, which takes years to leave, is for them to ask for. Who comes without TLS is answered by the proxy, which ends
    # it: /healthz and /metrics are asked beside it.
    SECURE_HSTS_SECONDS = 365 * 24 * 3600
SESSION_ENGINE = "feedsvc.sessions"
SESSION_SERIALIZER = "django.contrib.sessions.serializers.JSONSerializer"
# Who signs in to the admin has cookies that no other page is sent. (Those of /oauth/authorize: middleware.py.)
SESSION_COOKIE_PATH = CSRF_COOKIE_PATH = "/admin/"
SESSION_COOKIE_HTTPONLY = CSRF_COOKIE_HTTPONLY = True
SESSION_COOKIE_SAMESITE = CSRF_COOKIE_SAMESITE = "Strict"
SESSION_COOKIE_SECURE = CSRF_COOKIE_SECURE = BASE_URL.startswith("https://")
SESSION_COOKIE_AGE = 12 * 3600  # seconds: a working day
CSRF_TRUSTED_ORIGINS = [BASE_URL]
CSRF_FAILURE_VIEW = "feeds.web.pages.expired"
TEMPLATES = [
    {
        "BACKEND": "django.template.backends.django.DjangoTemplates",
        "APP_DIRS": True,
        "OPTIONS": {
            "context_processors": [
                "django.template.context_processors.request",
                "django.contrib.auth.context_processors.auth",
                "django.contrib.messages.context_processors.messages",
            ]
        },
    }
]
STATIC_URL = "/static/"  # the admin's, and those of /api/docs; the web server has them (run.py)
CORS_ALLOW_ALL_ORIGINS = True  # clients in browsers live anywhere, and show a token, not a cookie
CORS_URLS_REGEX = r"^/(api/|oauth/(token|revoke)|\.well-known/|nodeinfo/)"
# Any header, but this one a browser sends only where it is named.
CORS_ALLOW_HEADERS = ["*", "accept", "authorization", "content-type", "idempotency-key"]
CORS_EXPOSE_HEADERS = [
    "Link",
    "X-Request-Id",
    "X-RateLimit-Limit",
    "X-RateLimit-Remaining",
    "X-RateLimit-Reset",
    "Retry-After",
]
ROOT_URLCONF = "feedsvc.urls"
WSGI_APPLICATION = "feedsvc.wsgi.application"
APPEND_SLASH = False
AUTH_USER_MODEL = "followers.Account"
DEFAULT_AUTO_FIELD = "django.db.models.BigAutoField"
USE_TZ = True
TIME_ZONE = "UTC"
LANGUAGE_CODE = "en-us"
USE_I18N = False
DATA_UPLOAD_MAX_MEMORY_SIZE = 1 << 20  # bytes of a request's body
if TRUST_PROXY:
    SECURE_PROXY_SSL_HEADER = ("HTTP_X_FORWARDED_PROTO", "https")
    USE_X_FORWARDED_HOST = True


def postgresql(url: str, *, statement_timeout: str, **options: Any) -> dict[str, Any]:
    """Django's settings of a database."""
    found: Any = dj_database_url.parse(url, engine="feedsvc.postgresql", conn_max_age=None, conn_health_checks=True)
    return {
        **found,
        "OPTIONS": {
            **found.get("OPTIONS", {}),  # of the address: sslmode, sslrootcert
            "connect_timeout": 3,
            "application_name": "feedsvc",
            # Every wait has a bound. A page, a claim and a batch's range take milliseconds.
            # What is prepared (database.prepared, and nothing else) is planned once per connection. Of a merge join with one
            # row PostgreSQL guesses that it ends soon; for the newest of a million accounts it walks past all the others.
            "options": f"-c statement_timeout={statement_timeout} -c lock_timeout=10s -c jit=off -c enable_mergejoin=off"
            " -c plan_cache_mode=force_generic_plan",
            "prepare_threshold": sys.maxsize,
            **options,
        },
    }


def replica(url: str) -> dict[str, Any]:
    """Likewise. There is the primary, too: what takes this one long is asked of that."""
    return {**postgresql(url, statement_timeout="2s", connect_timeout=2, patience=2.5), "TEST": {"MIRROR": "default"}}


DATABASES: dict[str, Any] = {
    "default": postgresql(DATABASE_URL, statement_timeout="20s"),
    **{f"replica{number}": replica(url) for number, url in enumerate(DATABASE_REPLICA_URLS, 1)},
}
REPLICAS = [alias for alias in DATABASES if alias != "default"]
DATABASE_ROUTERS = ["feeds.replicas.Router"]

CACHES = {
    "default": {
        "BACKEND": "django_redis.cache.RedisCache",
        "LOCATION": CACHE_URL,
        "TIMEOUT": 24 * 3600,
        "VERSION": 3,  # of what entities look like: an older process must not meet those of a newer one
        "OPTIONS": {
            "SERIALIZER": "feeds.cache.JSON",
            "SOCKET_TIMEOUT": 1,
            "SOCKET_CONNECT_TIMEOUT": 1,
            "IGNORE_EXCEPTIONS": True,  # without its cache the service is slower, not down
        },
    }
}
DJANGO_REDIS_LOG_IGNORED_EXCEPTIONS = True

AUTH_PASSWORD_VALIDATORS = [
    {"NAME": f"django.contrib.auth.password_validation.{name}"}
    for name in (
        "UserAttributeSimilarityValidator",
        "MinimumLengthValidator",
        "CommonPasswordValidator",
        "NumericPasswordValidator",
    )
]

REST_FRAMEWORK = {
    "DEFAULT_AUTHENTICATION_CLASSES": ["feeds.api.auth.BearerAuthentication"],
    "DEFAULT_PERMISSION_CLASSES": ["feeds.api.auth.HasScope"],
    "DEFAULT_RENDERER_CLASSES": ["feeds.api.renderers.JSONRenderer"],
    "DEFAULT_PARSER_CLASSES": [
        "feeds.api.parsers.JSONParser",
        "rest_framework.parsers.FormParser",
        "feeds.api.parsers.MultiPartParser",
    ],
    "DEFAULT_THROTTLE_CLASSES": ["feeds.api.throttling.Throttle"],
    "EXCEPTION_HANDLER": "feeds.api.errors.handle",
    "UNAUTHENTICATED_USER": None,
    "DEFAULT_METADATA_CLASS": None,  # what OPTIONS would tell of each form is in the OpenAPI document
    "DEFAULT_SCHEMA_CLASS": "feeds.api.schema.Described",
}
SPECTACULAR_SETTINGS = {
    "TITLE": "feedsvc",
    "VERSION": VERSION,
    "OAS_VERSION": "3.1.0",
    "PREPROCESSING_HOOKS": ["feeds.api.schema.once"],
    "POSTPROCESSING_HOOKS": ["feeds.api.schema.complete"],
    "SORT_OPERATIONS": False,
}

OAUTH2_PROVIDER_APPLICATION_MODEL = "followers.Application"
OAUTH2_PROVIDER = {
    "COMPLIANT_BCP_RFC9700_TOKEN_STORAGE": True,  # tokens hashed, not in clear
    "CLIENT_SECRET_HASHER": "client_secret",
    "ACCESS_TOKEN_EXPIRE_SECONDS": 10 * 365 * 24 * 3600,  # clients of this API expect tokens that last until revoked
    "AUTHORIZATION_CODE_EXPIRE_SECONDS": 600,  # a person may have to carry it from one window to another
    "PKCE_REQUIRED": False,
    # RFC 9700, OAuth's best practice: what of it api/oauth.py does, or has no use for.
    **dict.fromkeys(
        [
            f"COMPLIANT_BCP_RFC9700_{what}"
            for what in ("IMPLICIT_GRANT", "PKCE_METHOD", "ACCESS_TOKEN_TRANSPORT", "AUTHZ_RESPONSE_ISS")
        ],
        True,
    ),
    "COMPLIANT_BCP_RFC9700_PASSWORD_GRANT": not OAUTH_PASSWORD_GRANT,
    "REFRESH_TOKEN_REUSE_PROTECTION": True,  # there are none
    "SCOPES": {"read": "Read everything", "write": "Change everything", "profile": "Read your name"},
    "DEFAULT_SCOPES": ["read"],
}
PASSWORD_HASHERS = ["django.contrib.auth.hashers.PBKDF2PasswordHasher", "feeds.api.hashers.ClientSecretHasher"]

# -- Celery. Each line's reason: docs/operations.md
CELERY_TASK_SERIALIZER = CELERY_RESULT_SERIALIZER = "json"
CELERY_ACCEPT_CONTENT = CELERY_RESULT_ACCEPT_CONTENT = ["json"]
CELERY_TASK_IGNORE_RESULT = True
CELERY_TASK_ACKS_LATE = True
CELERY_TASK_REJECT_ON_WORKER_LOST = True
CELERY_TASK_TRACK_STARTED = False
CELERY_TASK_SOFT_TIME_LIMIT = TASK_TIME_LIMIT * 2 // 3 or 1
CELERY_TASK_TIME_LIMIT = TASK_TIME_LIMIT
CELERY_TASK_CREATE_MISSING_QUEUES = False
CELERY_TASK_DEFAULT_QUEUE = "upkeep"
CELERY_TASK_ROUTES = {
    "fan_out_post": {"queue": "fanout"},
    "retract_post": {"queue": "fanout"},
    "record_delivery": {"queue": "fanout"},
    "push_batch": {"queue": "fanout_bulk"},
    "push_batch_alone": {"queue": "fanout_bulk"},
    "send_notifications": {"queue": "notifications"},
    "update_search_index": {"queue": "search"},
    "backfill_tag": {"queue": "search"},
    "refresh_cache": {"queue": "cache"},
}
ON_REDIS = CELERY_BROKER_URL.startswith("redis")
QUORUM = {
    "x-queue-type": "quorum",
    "x-delivery-limit": 10,
    "x-dead-letter-exchange": "",
    "x-dead-letter-routing-key": "dead",
    "x-dead-letter-strategy": "at-least-once",
    "x-overflow": "reject-publish",
}
CELERY_TASK_QUEUES: dict[str, Any] = {name: {} if ON_REDIS else {"queue_arguments": QUORUM} for name in workers.QUEUES}
if not ON_REDIS:
    # For people: no worker reads it. Each look at a message counts as a delivery, of which RabbitMQ 4 allows 20 by default.
    CELERY_TASK_QUEUES["dead"] = {"queue_arguments": {"x-queue-type": "quorum", "x-delivery-limit": 1_000_000}}
CELERY_TASK_PUBLISH_RETRY_POLICY = {"max_retries": 2, "interval_start": 0, "interval_step": 0.2, "interval_max": 0.5}
CELERY_WORKER_PREFETCH_MULTIPLIER = 1
CELERY_WORKER_DEDUPLICATE_SUCCESSFUL_TASKS = False
CELERY_WORKER_CANCEL_LONG_RUNNING_TASKS_ON_CONNECTION_LOSS = True
CELERY_WORKER_SOFT_SHUTDOWN_TIMEOUT = 10
CELERY_WORKER_ENABLE_SOFT_SHUTDOWN_ON_IDLE = True
CELERY_WORKER_HIJACK_ROOT_LOGGER = False
CELERY_WORKER_CONSUMER = "feedsvc.celery:Consumer"
CELERY_RESULT_EXPIRES = 3600
CELERY_RESULT_CHORD_EXPIRES = 24 * 3600
CELERY_REDIS_SOCKET_TIMEOUT = 5
CELERY_REDIS_SOCKET_CONNECT_TIMEOUT = 2
CELERY_REDIS_SOCKET_KEEPALIVE = True
CELERY_REDIS_BACKEND_HEALTH_CHECK_INTERVAL = 10
CELERY_BROKER_FAILOVER_STRATEGY = "round-robin"
CELERY_BROKER_CONNECTION_TIMEOUT = 2
CELERY_BROKER_POOL_ACQUIRE_TIMEOUT = 2
CELERY_BROKER_HEARTBEAT = 30
CELERY_BROKER_CONNECTION_RETRY_ON_STARTUP = True
CELERY_BROKER_CONNECTION_MAX_RETRIES = None
CELERY_BROKER_CHANNEL_ERROR_RETRY = True
CELERY_BROKER_TRANSPORT_OPTIONS: dict[str, Any] = (
    {
        "visibility_timeout": LEASE,
        "unacked_restore_interval": 5,
        "unacked_restore_throttle": 1,
        "socket_timeout": 5,
        "socket_connect_timeout": 2,
        "socket_keepalive": True,
        "health_check_interval": 10,
    }
    if ON_REDIS
    else {"confirm_publish": True, "read_timeout": 10, "write_timeout": 10, "connect_timeout": 2}
)
CELERY_BEAT_SCHEDULER = "celery.beat:Scheduler"
CELERY_BEAT_SCHEDULE = {
    "reconcile": {"task": "reconcile", "schedule": RECONCILE_EVERY, "options": {"expires": RECONCILE_EVERY}},
    "evict_inactive": {"task": "evict_inactive", "schedule": crontab(minute="0"), "options": {"expires": 3600}},
    "verify_sample": {"task": "verify_sample", "schedule": crontab(minute="*/10"), "options": {"expires": 600}},
    "prune": {"task": "prune", "schedule": crontab(), "options": {"expires": 60}},
}

LOGGING = {
    "version": 1,
    "disable_existing_loggers": False,
    "formatters": {
        "json": {"()": "feeds.logs.JSON"},
        "line": {"()": "feeds.logs.Line", "fmt": "{asctime} {levelname} {name}: {message}", "style": "{"},
    },
    "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": LOG_FORMAT}},
    "root": {"handlers": ["stderr"], "level": "INFO"},
    # What they say of each request and each task we say in one line, with its ids.
    "loggers": {
        "django.request": {"level": "ERROR"},
        "django.security.DisallowedHost": {"level": "CRITICAL"},  # a traceback for whoever sends a made-up Host
        "celery.worker.strategy": {"level": "WARNING"},
        "celery.app.trace": {"level": "WARNING"},
        "celery.beat": {"level": "WARNING"},
        "uvicorn": {"level": "WARNING"},  # it would name each URL, and with some the token
    },
}
