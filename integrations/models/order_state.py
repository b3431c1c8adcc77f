from django.db import models
from django.utils.translation import gettext_lazy as _

from integrations.models.peer import Hl7Peer
from radiology.models import Order


class Hl7OrderState(models.Model):
    """What a peer knows of an order's state, told by us or by itself; so that each change is told once.

    `told` has for each requested procedure, by key, ORC-5 (HL7 table 0038) and the scheduled start.
    """

    peer = models.ForeignKey(Hl7Peer, models.CASCADE, verbose_name=_("peer"), db_index=False)
    order_ref = models.ForeignKey(Order, models.CASCADE, verbose_name=_("order"), related_name="hl7_states")
    told = models.JSONField(_("told"), default=dict)
    is_announced = models.BooleanField(
        _("sent as an order"), default=False, help_text=_("It was made here, and this peer was told of it.")
    )

    class Meta:
        verbose_name = _("state of an order at a peer")
        verbose_name_plural = _("states of orders at peers")
        constraints = [models.UniqueConstraint(fields=["peer", "order_ref"], name="hl7_order_state")]

    def __str__(self) -> str:
        return f"{self.peer_id} {self.order_ref_id}"
