"""`POST /modalities/{name}/store-straight`: a DICOM file that is sent on and not stored."""

from typing import Any

from django.http import HttpResponse
from django.http.request import UnreadablePostError

from integrations.orthanc.access import answer
from integrations.orthanc.modalities import NodeView
from pacs.api.bodies import File, files_of
from pacs.dimse.straight import send_received
from pacs.services import transfers
from pacs.services.incoming import Received, Source, receive_part10
from radiology.errors import CannotUnderstand, DataSetMismatch, InvalidValue, NotAllowed, OutOfResources
from radiology.models import AuditAction, Site


class StoreStraight(NodeView):
    """The body is one DICOM file, whatever its type is said to be. It lies on the archive's disk while it is sent."""

    needs = {"POST": "studies.write"}

    def post(self, request: Any, **_: str) -> HttpResponse:
        if not transfers.nodes_for(who=self.here).filter(pk=self.node.pk).exists():
            raise NotAllowed("This node is not active, or may not be sent images from here.")
        request.META["CONTENT_TYPE"] = ""
        try:
            file = next(files_of(request), None)
            if file is None:
                raise CannotUnderstand("Cannot parse an invalid DICOM file")
            received = self._received(file)
        except UnreadablePostError as error:
            raise InvalidValue("The body ends before it is complete.") from error
        except DataSetMismatch as error:
            raise CannotUnderstand(error.message) from error
        except OSError as error:
            raise OutOfResources("There is no space to take the file in: try again later.") from error
        try:
            study = received.study_instance_uid
            self.record(
                "store-straight", AuditAction.READ, study_instance_uid=study,
                detail={"node": self.node.title, "instance": received.sop_instance_uid},
            )  # fmt: skip
            send_received(node=self.node, received=received)
        finally:
            received.discard()
        return answer({"SOPClassUID": received.sop_class_uid, "SOPInstanceUID": received.sop_instance_uid})

    def _received(self, file: File) -> Received:
        source = Source.of_site(Site.objects.get(pk=self.here.site_id))
        with receive_part10(source=source) as incoming:
            for block in file.blocks:
                incoming.write(block)
            return incoming.finish()
