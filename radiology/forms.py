from django import forms

from radiology.models import Theme, User


class PreferencesForm(forms.Form):
    """What somebody chose in the header: a theme or a language, each sent alone."""

    theme = forms.ChoiceField(choices=Theme, required=False)
    language = forms.ChoiceField(choices=User._meta.get_field("language").choices or [], required=False)
    next = forms.CharField(required=False)
