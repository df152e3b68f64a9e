"""The admin: accounts, who follows or asks to, posts, deliveries and tasks, for those who run the service; open to staff.

Rows are looked at here and changed by deeds: nothing is added, edited or deleted as a row. Tables may have any number of
rows, so every list is in the order of ids and has an end (`Pages`), and what is asked of it is an index's to answer: a
search, or a filter's condition in `indexed`. Under any other condition the list is that of the NEWEST rows.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, ClassVar

from django.contrib import admin
from django.contrib.admin.forms import AdminAuthenticationForm
from django.contrib.admin.views.main import ChangeList
from django.contrib.auth.forms import PasswordChangeForm
from django.contrib.auth.views import PasswordChangeView
from django.core.exceptions import ObjectDoesNotExist, ValidationError
from django.core.paginator import Paginator
from django.db.models import (
    BooleanField,
    Case,
    Count,
    Exists,
    ExpressionWrapper,
    F,
    Model,
    OuterRef,
    Q,
    QuerySet,
    Subquery,
    When,
)
from django.db.models.functions import Coalesce
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import reverse
from django.utils.functional import cached_property
from django.utils.html import format_html, format_html_join
from django.utils.safestring import SafeString

from followers.models import Account, Follow, FollowRequest

from . import actions, deliveries, outbox
from .models import Batch, Delivery, Outbox, Post, Visibility

COUNTED = 10_000  # rows of a list that can be turned to
NEWEST = 100_000  # rows among which is looked for what no index knows
BATCHES = 200  # shown of a delivery
BATCH_COLUMNS = """batch_no state size delivered skipped_inactive skipped_hidden gone attempts lease_until closed_at
    dropped_at error""".split()
ID_MAX = (1 << 63) - 1


class SignInForm(AdminAuthenticationForm):
    """Takes an e-mail, too, which may be longer than a name."""

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self.fields["username"].label = "User name or e-mail"
        self.fields["username"].widget.attrs["maxlength"] = 254


class PasswordForm(PasswordChangeForm):
    def save(self, commit: bool = True) -> Any:
        actions.set_password(account=self.user, password=self.cleaned_data["new_password1"])
        return self.user


class Site(admin.AdminSite):
    site_header = site_title = "feedsvc"
    index_title = "What there is"
    site_url = None
    login_form = SignInForm

    def password_change(self, request: HttpRequest, extra_context: dict[str, Any] | None = None) -> Any:
        """The library's, but for the form: its own would save the whole account, counters of a moment ago included."""
        context = self.each_context(request) | (extra_context or {})
        done = reverse("admin:password_change_done")
        return PasswordChangeView.as_view(form_class=PasswordForm, success_url=done, extra_context=context)(request)


site = Site()


class Choice(admin.SimpleListFilter):
    """A filter: one of some conditions, by name. An index has the rows of those in `indexed`."""

    conditions: ClassVar[dict[str, Q]]
    indexed: ClassVar[set[str]] = set()

    def lookups(self, request: HttpRequest, model_admin: Any) -> list[tuple[str, str]]:
        return [(name, name) for name in self.conditions]

    def queryset(self, request: HttpRequest, queryset: QuerySet[Any]) -> QuerySet[Any]:
        return queryset.filter(self.conditions.get(self.value() or "", Q()))


class Many(int):
    """So many, or more: nobody counted on."""

    def __str__(self) -> str:
        return f"{int(self)} or more"


class BoundedPaginator(Paginator):
    object_list: QuerySet[Any]

    @cached_property
    def count(self) -> int:
        """Counted in the order of the list, so that it ends where the last page does."""
        found = self.object_list[:COUNTED].count()
        return found if found < COUNTED else Many(found)


class Pages(ChangeList):
    """A list by id, newest first, whatever the URL asks for. The head of the file says how it stays bounded."""

    filter_specs: list[Choice]  # type: ignore[assignment]  # there are no others here

    def get_ordering(self, request: HttpRequest, queryset: QuerySet[Any]) -> list[Any]:
        return ["-pk"]

    def get_queryset(self, request: HttpRequest, exclude_parameters: Any = None) -> QuerySet[Any]:
        found = super().get_queryset(request, exclude_parameters)
        chosen = [choice for choice in self.filter_specs if choice.value()]
        if not chosen or self.query or any(choice.value() in choice.indexed for choice in chosen):
            return found
        beyond = self.model._default_manager.order_by("-pk").values_list("pk", flat=True)[NEWEST : NEWEST + 1]
        return found.filter(pk__gt=next(iter(beyond), 0))  # a number, so that PostgreSQL knows how few rows that leaves


class Door(admin.ModelAdmin):
    """What all pages have in common. `find`: the condition that a search stands for."""

    list_per_page = list_max_show_all = 100
    show_full_result_count = False
    list_filter: ClassVar[tuple[type[Choice], ...]] = ()
    show_facets = admin.ShowFacets.NEVER
    sortable_by = ()
    paginator = BoundedPaginator
    actions_selection_counter = False  # with it comes the offer to choose the rows of all pages

    def find(self, term: str) -> Q:
        raise NotImplementedError

    def get_search_results(
        self, request: HttpRequest, queryset: QuerySet[Any], search_term: str
    ) -> tuple[QuerySet[Any], bool]:
        term = search_term.strip().lower()
        return (queryset.filter(self.find(term)) if term else queryset), False

    def get_changelist(self, request: HttpRequest, **kwargs: Any) -> type[ChangeList]:
        return Pages

    def lookup_allowed(self, lookup: str, value: str, request: HttpRequest | None = None) -> bool:
        """No conditions but the filters': a URL may otherwise ask for anything that a column can be asked."""
        return lookup in [choice.parameter_name for choice in self.list_filter]

    def has_module_permission(self, request: HttpRequest) -> bool:
        return self.admin_site.has_permission(request)

    def has_view_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.admin_site.has_permission(request)

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_add_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return False

    def do(self, request: HttpRequest, queryset: QuerySet[Any], deed: Callable[[Any], object], said: str) -> None:
        """One row after the other, each noted with who did it. A deed that is False, or finds nothing, left its row alone."""
        chosen = self._chosen(queryset)
        done = [row for row in chosen if self._did(deed, row)]
        for row in done:
            self.log_change(request, row, said)
        self.message_user(request, f"{len(done)} of {len(chosen)} {said}.")

    def do_confirmed(
        self, request: HttpRequest, queryset: QuerySet[Any], deed: Callable[[Any], object], said: str, *will: str
    ) -> HttpResponse | None:
        """As `do`, after a page that says what will happen."""
        if "confirmed" in request.POST:
            self.do(request, queryset, deed, said)
            return None
        context = self.admin_site.each_context(request) | {
            "title": f"To be {said}: {self.opts.verbose_name_plural}",
            "opts": self.opts,
            "chosen": self._chosen(queryset),
            "action": request.POST["action"],
            "will": will,
        }
        return TemplateResponse(request, "admin/confirm_deed.html", context)

    def _chosen(self, queryset: QuerySet[Any]) -> list[Any]:
        """A page's at most, whatever was sent."""
        return list(queryset[: self.list_per_page])

    def _did(self, deed: Callable[[Any], object], row: Model) -> bool:
        try:
            return bool(deed(row))
        except ObjectDoesNotExist:
            return False


def id_of(term: str) -> int:
    """What no row has, if it is not an id."""
    return int(term) if term.isdecimal() and int(term) <= ID_MAX else 0


def named(name: str) -> int:
    """The account's id."""
    return Account.objects.filter(username=name.removeprefix("@")).values_list("pk", flat=True).first() or 0


class Standing(Choice):
    title = parameter_name = "standing"
    conditions: ClassVar[dict[str, Q]] = {
        "staff": Q(is_staff=True),
        "active": Q(is_active=True),
        "closed": Q(is_active=False),
    }
    indexed: ClassVar[set[str]] = {"staff", "closed"}


@admin.register(Account, site=site)
class Accounts(Door):
    list_display = (
        "username",
        "display_name",
        "followers_count",
        "mode",
        "last_active_at",
        "deleted_at",
    )
    list_filter = (Standing,)
    search_fields = ("username",)
    search_help_text = "The beginning of a user name"
    actions = ("delete_accounts",)
    facts = (
        "username",
        "display_name",
        "email",
        "note",
        ("followers_count", "following_count", "statuses_count"),
        ("is_staff", "is_active", "locked", "bot"),
        ("created_at", "last_login", "last_active_at", "last_status_at"),
        ("evicted_at", "deleted_at"),
        ("home_mode", "ever_pulled"),
    )
    how = "How new posts reach home timelines whatever the audience; without a choice, as the audience says."
    fieldsets = ((None, {"fields": facts}), ("New posts", {"fields": ("home_mode_override",), "description": how}))
    readonly_fields = (*facts[:4], *(name for names in facts[4:] for name in names))

    def find(self, term: str) -> Q:
        return Q(username__startswith=term)

    @admin.display(description="home mode")
    def mode(self, account: Account) -> str:
        return f"{account.home_mode_override} (set)" if account.home_mode_override else account.home_mode

    def has_change_permission(self, request: HttpRequest, obj: Model | None = None) -> bool:
        return self.admin_site.has_permission(request)

    def save_model(self, request: HttpRequest, obj: Account, form: Any, change: bool) -> None:
        actions.set_home_mode(account=obj, mode=obj.home_mode_override)

    @admin.action(description="Delete accounts")
    def delete_accounts(self, request: HttpRequest, queryset: QuerySet[Account]) -> HttpResponse | None:
        return self.do_confirmed(
            request,
            queryset,
            delete,
            "deleted",
            "At once nobody can sign in to them any more, and their tokens are gone.",
            "At once nobody sees anything of theirs. Then their posts, follows, lists and marks are taken back.",
            "Their names stay taken. This can't be undone.",
        )


def delete(account: Account) -> bool:
    if account.deleted_at is not None:
        return False
    actions.delete_account(account=account)
    return True


@admin.register(Follow, site=site)
class Follows(Door):
    list_display = ("id", "follower", "followee", "reblogs", "created_at")
    list_select_related = ("follower", "followee")
    search_fields = ("follower",)
    search_help_text = "NAME: whom the account follows. to:NAME: who follows it. NAME to:NAME: the one follow"
    fields = ("follower", "followee", "reblogs", "created_at")

    def find(self, term: str) -> Q:
        found = Q()
        for word in term.split():
            if word.startswith("to:"):
                found &= Q(followee=named(word.removeprefix("to:")))
            else:
                found &= Q(follower=named(word))
        return found


@admin.register(FollowRequest, site=site)
class FollowRequests(Follows):
    search_help_text = "NAME: whom the account asks to follow. to:NAME: who asks it. NAME to:NAME: the one request"


class VisibilityChoice(Choice):
    title = f"visibility (newest {NEWEST:,})"
    parameter_name = "visibility"
    conditions: ClassVar[dict[str, Q]] = {value: Q(visibility=value) for value in Visibility.values}


class PostKind(Choice):
    title = f"kind (newest {NEWEST:,})"
    parameter_name = "kind"
    conditions: ClassVar[dict[str, Q]] = {
        "post": Q(reblog_of=None, in_reply_to=None),
        "reply": Q(in_reply_to__isnull=False),
        "reblog": Q(reblog_of__isnull=False),
    }


@admin.register(Post, site=site)
class Posts(Door):
    list_display = ("id", "author", "kind", "visibility", "beginning", "created_at", "deleted_at")
    list_select_related = ("author",)
    list_filter = (VisibilityChoice, PostKind)
    search_fields = ("id",)
    search_help_text = "A post's id, or its author's user name: the author's posts that are not deleted"
    actions = ("delete_posts",)
    fields = (
        "id",
        "author",
        ("kind", "visibility", "language", "sensitive"),
        "said",
        ("in_reply_to", "in_reply_to_account", "reblog_of"),
        ("replies_count", "reblogs_count", "favourites_count"),
        ("home_mode", "version"),
        ("created_at", "edited_at", "pinned_at", "deleted_at"),
    )
    readonly_fields = ("kind", "said")

    def find(self, term: str) -> Q:
        return Q(pk=id_of(term)) if term.isdecimal() else Q(author=named(term), deleted_at=None)

    def kind(self, post: Post) -> str:
        return "reblog" if post.reblog_of_id else "reply" if post.in_reply_to_id else "post"

    @admin.display(description="text")
    def said(self, post: Post) -> str:
        """Staff see what everybody may see, and of the rest that it is there."""
        if post.visibility not in (Visibility.PUBLIC, Visibility.UNLISTED):
            return "(not for everybody)"
        return f"{post.spoiler_text}\n\n{post.text}".strip()

    @admin.display(description="text")
    def beginning(self, post: Post) -> str:
        return self.said(post)[:60]

    @admin.action(description="Delete posts")
    def delete_posts(self, request: HttpRequest, queryset: QuerySet[Post]) -> HttpResponse | None:
        return self.do_confirmed(
            request,
            queryset,
            retract,
            "deleted",
            "At once nobody sees them any more. Then they are taken out of all home timelines.",
            "This can't be undone.",
        )


def retract(post: Post) -> object:
    return actions.delete_post(author=post.author, post_id=post.pk)


DEAD = Q(
    Exists(
        Batch.objects.filter(
            post=OuterRef("post"), kind=OuterRef("kind"), state=Batch.State.DEAD, dropped_at__isnull=True
        )
    )
)
"""Dead batches that nobody dropped."""


class DeliveryState(Choice):
    title = parameter_name = "state"
    conditions: ClassVar[dict[str, Q]] = {
        "open": ~Q(state=Delivery.State.CLOSED),
        "closed": Q(state=Delivery.State.CLOSED),
        "with failed": Q(failed__gt=0),
        "with dead batches": Q(failed__gt=0) & DEAD,
        "cancelled": Q(cancelled_at__isnull=False),
    }
    indexed: ClassVar[set[str]] = {"open", "with failed", "with dead batches", "cancelled"}


@admin.register(Delivery, site=site)
class Deliveries(Door):
    list_display = (
        "id",
        "author",
        "kind",
        "stage",
        "progress",
        "audience",
        "delivered",
        "failed",
        "queued_at",
        "inactive",
        "hidden",
        "pulled",
        "gone",
        "finished_at",
    )
    list_select_related = ("post__author",)
    list_filter = (DeliveryState,)
    search_fields = ("post",)
    search_help_text = "A post's id"
    actions = ("replay", "drop", "cancel")
    fields = (
        ("post", "author"),
        ("kind", "state", "closed_by"),
        ("audience", "cut"),
        ("delivered", "skipped_inactive", "skipped_hidden", "pulled", "gone", "failed"),
        ("queued_at", "planned_at", "finished_at", "cancelled_at"),
        "progress",
        "batch_rows",
    )
    readonly_fields = ("author", "progress", "batch_rows")

    def get_queryset(self, request: HttpRequest) -> QuerySet[Any]:
        """With the number of closed batches: counted only while there are others."""
        closed = Batch.objects.filter(post=OuterRef("post"), kind=OuterRef("kind")).exclude(state=Batch.State.OPEN)
        count = Subquery(closed.order_by().values("post").annotate(n=Count("*")).values("n"))
        batches_closed = Case(When(state=Delivery.State.PUSHING, then=Coalesce(count, 0)), default=F("batches"))
        return super().get_queryset(request).annotate(batches_closed=batches_closed)

    def find(self, term: str) -> Q:
        return Q(post=id_of(term))

    def author(self, delivery: Delivery) -> str:
        return delivery.post.author.username

    @admin.display(description="state")
    def stage(self, delivery: Delivery) -> str:
        return "cancelled" if delivery.cancelled_at else delivery.state

    def progress(self, delivery: Any) -> str:
        """Batches."""
        return f"{delivery.batches_closed} of {delivery.batches}"

    @admin.display(description="inactive")
    def inactive(self, delivery: Delivery) -> int:
        return delivery.skipped_inactive

    @admin.display(description="hidden")
    def hidden(self, delivery: Delivery) -> int:
        return delivery.skipped_hidden

    @admin.display(description=f"batches (the first {BATCHES}, those not done before those done)")
    def batch_rows(self, delivery: Delivery) -> SafeString:
        done = ExpressionWrapper(Q(state=Batch.State.DONE), BooleanField())
        batches = Batch.objects.filter(post=delivery.post_id, kind=delivery.kind).order_by(done, "batch_no")[:BATCHES]
        head = format_html_join("", "<th>{}</th>", ([name.replace("_", " ")] for name in BATCH_COLUMNS))
        body = format_html_join(
            "",
            "<tr>{}</tr>",
            (
                [format_html_join("", "<td>{}</td>", ([_shown(batch, name)] for name in BATCH_COLUMNS))]
                for batch in batches
            ),
        )
        return format_html("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)

    @admin.action(description="Replay: open dead batches again")
    def replay(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> None:
        self.do(request, queryset, drive_again, "replayed")

    @admin.action(description="Drop dead batches")
    def drop(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        return self.do_confirmed(
            request,
            queryset,
            lambda delivery: deliveries.drop(post_id=delivery.post_id),
            "dropped",
            "The dead batches of these posts are given up: their followers stay counted as failed.",
            "They are no longer counted among what is to be looked at.",
            "This can't be undone: they are not replayed any more.",
        )

    @admin.action(description="Cancel fan-outs")
    def cancel(self, request: HttpRequest, queryset: QuerySet[Delivery]) -> HttpResponse | None:
        return self.do_confirmed(
            request,
            queryset,
            call_off,
            "cancelled",
            "The fan-out of these posts stops, and they are taken out of the home timelines that have them.",
            "The posts live on: their authors' pages, the public timeline and search show them as before.",
            "This can't be undone.",
        )


def drive_again(delivery: Delivery) -> bool:
    try:
        return deliveries.replay(post_id=delivery.post_id) != deliveries.Replayed(0, 0)
    except ValidationError:  # all that is dead was dropped
        return False


def call_off(delivery: Delivery) -> bool:
    return actions.cancel_delivery(post_id=delivery.post_id)


def _shown(row: Model, name: str) -> object:
    value = getattr(row, name)
    return "-" if value is None else f"{value:%Y-%m-%d %H:%M:%S}" if hasattr(value, "tzinfo") else value


class TaskState(Choice):
    title = parameter_name = "state"
    conditions: ClassVar[dict[str, Q]] = {
        "unsent": Q(done_at=None, sent_at=None),
        "sent": Q(done_at=None, sent_at__isnull=False, attempts__lt=outbox.ATTEMPTS),
        "failed": Q(done_at=None, sent_at__isnull=False, attempts__gte=outbox.ATTEMPTS),  # nobody sends it again
        "done": Q(done_at__isnull=False),
    }
    indexed: ClassVar[set[str]] = {"unsent", "sent", "failed"}


class TaskName(Choice):
    title = f"task (newest {NEWEST:,})"
    parameter_name = "task"
    conditions: ClassVar[dict[str, Q]] = {
        task: Q(task=task) for task in sorted({task for tasks in outbox.TASKS.values() for task in tasks})
    }


@admin.register(Outbox, site=site)
class Tasks(Door):
    list_display = ("id", "task", "subject_id", "object_id", "state", "attempts", "trouble", "created_at", "done_at")
    list_filter = (TaskState, TaskName)
    search_fields = ("subject_id",)
    search_help_text = "The id of the post or account that a task is about"
    actions = ("send_again",)
    fields = (
        ("task", "event", "state"),
        ("subject_id", "object_id"),
        ("created_at", "due_at", "sent_at", "done_at"),
        ("attempts", "lease_no", "lease_until", "waited"),
        "error",
    )
    readonly_fields = ("state",)

    def find(self, term: str) -> Q:
        return Q(subject_id=id_of(term))

    def state(self, row: Outbox) -> str:
        if row.done_at:
            return "done"
        return "failed" if row.attempts >= outbox.ATTEMPTS else "sent" if row.sent_at else "unsent"

    @admin.display(description="error")
    def trouble(self, row: Outbox) -> str:
        return (row.error or "")[:60]

    @admin.action(description="Send again")
    def send_again(self, request: HttpRequest, queryset: QuerySet[Outbox]) -> None:
        self.do(request, queryset, lambda row: outbox.send_again(row.pk), "sent again")
