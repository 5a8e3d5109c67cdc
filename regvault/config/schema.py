"""The JSON Schema of the configuration."""

from __future__ import annotations

from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from regvault.config.model import Config

__all__ = ["config_schema"]


class _Plain(GenerateJsonSchema):
    """Titles made of the names of settings say nothing that the names do not."""

    def field_title_should_be_set(self, schema: Any) -> bool:  # noqa: ARG002
        return False


def config_schema() -> dict[str, Any]:
    """Return the schema, of draft 2020-12."""
    schema: dict[str, Any] = Config.model_json_schema(schema_generator=_Plain)
    for setting in schema["properties"].values():
        if "patternProperties" in setting:
            setting["additionalProperties"] = False
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "regvault.yaml",
        **{key: value for key, value in schema.items() if key != "title"},
    }
