"""The blocks which a stack keeps on its own Prefect server, as resources: its own, and those for users' flows."""

from __future__ import annotations

import contextlib
from importlib import import_module

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import BlockDocumentCreate, BlockDocumentUpdate
from prefect.client.schemas.objects import BlockDocument, BlockType
from prefect.exceptions import ObjectNotFound

from blocks.document import Document
from blocks.resource import Attributes, Change, Resource
from blocks.stack import Stack, StackBlock


class StackDocument(Resource):
    """The stack's block, saved under the stack's name."""

    def __init__(self, stack: Stack, client: SyncPrefectClient) -> None:
        self._stack, self._document, self._client = stack, stack.spec.name, client
        self._slug = StackBlock.get_block_type_slug()
        self.name = f"block {self._slug}/{self._document}"

    def find(self) -> Attributes | None:
        try:
            found = self._client.read_block_document_by_name(self._document, self._slug)
        except ObjectNotFound:
            return None
        return {key: str(value) for key, value in found.data.items()}

    def want(self) -> Attributes:
        fields = self._stack.block().model_dump(mode="json")  # Prefect adds the type's slug
        return {key: str(fields[key]) for key in StackBlock.model_fields}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self._stack.block().save(self._document, overwrite=True)

    def delete(self) -> None:
        found = self._client.read_block_document_by_name(self._document, self._slug)
        self._client.delete_block_document(found.id)


class KeptDocument(Resource):
    """A block for users' flows. It is saved without being made: some look for credentials of whoever makes them."""

    def __init__(self, document: Document, name: str, client: SyncPrefectClient) -> None:
        self.name = f"block {document.slug}/{name}"
        self.needs = tuple(f"block {slug}/{name}" for slug in document.refers.values())
        self._wanted, self._document, self._client = document, name, client

    def find(self) -> Attributes | None:
        found = self._read(self._wanted.slug)
        if found is None:
            return None
        referred = {key: each["block_document"]["name"] for key, each in found.block_document_references.items()}
        return {key: {**found.data, **referred}.get(key) for key in self.want()}

    def want(self) -> Attributes:
        return {**self._wanted.data, **dict.fromkeys(self._wanted.refers, self._document)}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        data = dict(self._wanted.data)
        for key, slug in self._wanted.refers.items():
            if (referred := self._read(slug)) is not None:
                data[key] = {"$ref": {"block_document_id": str(referred.id)}}
        found = self._read(self._wanted.slug)
        if found is not None:
            self._client.update_block_document(found.id, BlockDocumentUpdate(data=data, merge_existing_data=False))
            return
        module, _, kind = self._wanted.kind.partition(":")
        getattr(import_module(module), kind).register_type_and_schema()
        type_id = self._client.read_block_type_by_slug(self._wanted.slug).id
        schema = self._client.get_most_recent_block_schema_for_block_type(type_id)
        made = BlockDocumentCreate(
            name=self._document, data=data, block_type_id=type_id, block_schema_id=schema.id if schema else None
        )
        self._client.create_block_document(made)

    def delete(self) -> None:
        found = self._read(self._wanted.slug)
        if found is not None:
            self._client.delete_block_document(found.id)

    def _read(self, slug: str) -> BlockDocument | None:
        with contextlib.suppress(ObjectNotFound):
            return self._client.read_block_document_by_name(self._document, slug)
        return None


class FormerBlocks(Resource):
    """The blocks of database, machine, proxy, secrets and objects, which releases before 2026-12 kept on the server.

    Removed are the documents with the stack's name, and a type of ours once it has no document left.
    """

    name = "blocks of former releases"
    _SLUGS = ("local-database", "local-machine", "local-object-store", "local-proxy", "local-secret-store")

    def __init__(self, document: str, client: SyncPrefectClient) -> None:
        self._document, self._client = document, client

    def find(self) -> Attributes:
        return {"left": sorted(kind.slug for kind in self._kinds() if self._is_left(kind))}

    def want(self) -> Attributes:
        return {"left": []}

    def apply(self, actual: Attributes | None, change: Change) -> None:
        self.delete()

    def delete(self) -> None:
        for kind in self._kinds():
            for each in self._documents(kind):
                if each.name == self._document:
                    self._client.delete_block_document(each.id)
            if not self._documents(kind):
                self._client.delete_block_type(kind.id)

    def _is_left(self, kind: BlockType) -> bool:
        names = [each.name for each in self._documents(kind)]
        return not names or self._document in names

    def _kinds(self) -> list[BlockType]:
        """Those block types which are ours: another's of the same slug is made from another module."""
        found = []
        for slug in self._SLUGS:
            with contextlib.suppress(ObjectNotFound):
                found.append(self._client.read_block_type_by_slug(slug))
        return [each for each in found if "from blocks.local." in (each.code_example or "")]

    def _documents(self, kind: BlockType) -> list[BlockDocument]:
        return self._client.read_block_documents_by_type(kind.slug)
