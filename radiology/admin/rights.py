"""Nobody hands over, or takes over, more rights than one's own."""

from typing import Any

from django.contrib.auth.models import Group, Permission
from django.db.models import Q, QuerySet

from radiology.models import User


def rights_of(user: Any) -> QuerySet[Permission]:
    """All single rights of a user, whether given directly or by a role, active or not."""
    if user.is_superuser:
        return Permission.objects.all()
    return Permission.objects.filter(Q(user=user) | Q(group__user=user)).distinct()


def roles_within(user: Any) -> QuerySet[Group]:
    """The roles that hold no right which `user` lacks."""
    if user.is_superuser:
        return Group.objects.all()
    beyond = Permission.objects.exclude(pk__in=rights_of(user).values("pk"))
    return Group.objects.exclude(pk__in=Group.permissions.through.objects.filter(permission__in=beyond).values("group"))


def may_manage(user: Any, other: User) -> bool:
    """Whether `user` may edit the account of `other`, password included: only if that gains no right."""
    if user.is_superuser:
        return True
    return not other.is_superuser and not rights_of(other).exclude(pk__in=rights_of(user).values("pk")).exists()
