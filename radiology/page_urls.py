"""The addresses of the pages about orders, reports and critical results."""

from django.urls import path

from radiology import (
    critical_pages,
    key_image_pages,
    order_entry,
    order_pages,
    report_pages,
    report_review_pages,
    verify_pages,
)

urlpatterns = [
    path("orders", order_pages.orders, name="orders"),
    path("orders/new", order_entry.new, name="order-new"),
    path("orders/procedures", order_entry.procedures, name="order-procedures"),
    path("orders/patients", order_entry.patients, name="order-patients"),
    path("orders/<uuid:public_id>", order_pages.order, name="order"),
    path("orders/<uuid:public_id>/edit", order_entry.edit, name="order-edit"),
    path("orders/<uuid:public_id>/slip", order_pages.slip, name="order-slip"),
    path("orders/<uuid:public_id>/move", order_pages.move, name="order-move"),
    path("orders/<uuid:public_id>/remove", order_pages.remove, name="order-remove-procedure"),
    path("orders/<uuid:public_id>/attachments", order_pages.attach, name="order-attach"),
    path("orders/<uuid:public_id>/attachments/<uuid:attachment>", order_pages.attachment, name="order-attachment"),
    path("orders/<uuid:public_id>/attachments/<uuid:attachment>/remove", order_pages.detach, name="order-detach"),
    path("orders/<uuid:public_id>/attachments/<uuid:attachment>/restore", order_pages.reattach, name="order-reattach"),
    path("reports/changed", report_review_pages.changed, name="reports-changed"),
    path("reports/held", report_review_pages.held, name="reports-held"),
    path("reports/<uuid:public_id>/differences", report_review_pages.differences, name="report-differences"),
    path("reports/<uuid:public_id>/hold", report_review_pages.decide, name="report-hold"),
    path("reports/<uuid:public_id>/images-seen", report_review_pages.images_seen, name="report-images-seen"),
    path("reports/<uuid:public_id>", report_pages.report, name="report"),
    path("reports/<uuid:public_id>/pdf", report_pages.letter, name="report-letter"),
    path("reports/<uuid:public_id>/key-images/<uuid:image>", key_image_pages.key_image, name="report-key-image"),
    path("verify/<str:token>", verify_pages.verify, name="verify-report"),
    path("critical", critical_pages.results, name="critical-results"),
    path("critical/mine", critical_pages.mine, name="critical-mine"),
    path("critical/patient/<uuid:public_id>", critical_pages.of_patient, name="critical-of-patient"),
    path("critical/<uuid:public_id>", critical_pages.critical_result, name="critical-result"),
    path("critical/<uuid:public_id>/acknowledge", critical_pages.acknowledge, name="critical-acknowledge"),
    path("critical/<uuid:public_id>/withdraw", critical_pages.withdraw, name="critical-withdraw"),
]
