from django.db import models
from django.utils.translation import gettext_lazy as _


class CharacterSet(models.TextChoices):
    """MSH-18 (HL7 table 0211); for what comes in, of messages without it."""

    GUESS = "", _("Not said: UTF-8, else Latin-1")
    UTF_8 = "UNICODE UTF-8", _("Unicode UTF-8")
    ASCII = "ASCII", _("ASCII, letters without accents")
    LATIN_1 = "8859/1", _("Latin-1, Western Europe")
    LATIN_2 = "8859/2", _("Latin-2, Central Europe")
    CYRILLIC = "8859/5", _("Cyrillic")
    ARABIC = "8859/6", _("Arabic")
    GREEK = "8859/7", _("Greek")
    HEBREW = "8859/8", _("Hebrew")
    LATIN_5 = "8859/9", _("Latin-5, Turkish")
    LATIN_9 = "8859/15", _("Latin-9, Western Europe with €")
    GB_18030 = "GB 18030-2000", _("Chinese (GB 18030)")
    BIG_5 = "BIG-5", _("Chinese (Big5)")
    KOREAN = "KS X 1001", _("Korean (KS X 1001)")
