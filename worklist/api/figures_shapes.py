"""What the figures of the department answer, described for the documentation."""

from rest_framework import serializers

from pacs.api.shapes import Text


class FiguresPeriod(serializers.Serializer):
    """Days by the site's clock, both included."""

    first = serializers.DateField()
    last = serializers.DateField()


class FiguresColumn(serializers.Serializer):
    name = Text(help_text="Under which each row has its value.")
    label = Text(help_text="As people read it.")  # type: ignore[assignment]
    kind = serializers.ChoiceField(
        choices=["text", "count", "time", "share"], help_text="`time` is in seconds, `share` of 1."
    )


class FiguresTable(serializers.Serializer):
    name = Text(help_text="Lasting; the parameter `table` takes it.")
    title = Text(help_text="As people read it.")
    columns = FiguresColumn(many=True)
    rows = serializers.ListField(
        child=serializers.DictField(),
        help_text="A value for each column; null: not known.",
    )


class FiguresShape(serializers.Serializer):
    """Tables about the examinations of a period."""

    period = FiguresPeriod()
    before = FiguresPeriod(help_text="As many days, with which it is compared.")
    modality = Text(help_text="Empty for all.")
    tables = FiguresTable(many=True)
