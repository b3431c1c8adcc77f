"""Key images in the reading view: chosen in the viewer, shown in a strip beside the text."""

import uuid

from django.http import HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache

from radiology.accounts import PageRequest
from radiology.key_image_pages import entries_of
from radiology.services import audit
from radiology.services.key_images import choose_key_images, key_images_of
from worklist.reading_view_pages import answers, body_of, procedure_of, version_in
from worklist.services.reading import touch


@method_decorator([never_cache, answers], name="dispatch")
class KeyImages(View):
    """`/reading/<requested procedure>/key-images`."""

    def put(self, request: PageRequest, public_id: uuid.UUID) -> HttpResponse:
        """All of them, in their order (`images`), as `choose_key_images` wants them; and the report's `version`."""
        procedure = procedure_of(request, public_id)
        given = body_of(request)
        report = choose_key_images(
            procedure=procedure,
            images=given.get("images"),
            version=version_in(given),
            who=request.user,
            address=audit.address_of(request),
        )
        touch(who=request.user, procedure=procedure)
        return JsonResponse({"version": report.version, "keyImages": entries_of(report, key_images_of(report))})


key_images = KeyImages.as_view()
