"""etcd's gRPC messages, as far as the engine needs them: field names, types and numbers of the v3 API (`etcdserverpb`, `mvccpb`).

The classes are made at import from the table below, in a descriptor pool of their own, so that another etcd client's generated
modules can live in the same process. Fields that the engine never reads or sets are left out: protobuf carries unknown fields along.
Enumerations are written as int32, which is the same on the wire.
"""

from __future__ import annotations

from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

_TABLE = """
KeyValue: key bytes 1, create_revision int64 2, mod_revision int64 3, version int64 4, value bytes 5, lease int64 6
Event: type int32 1, kv KeyValue 2, prev_kv KeyValue 3
ResponseHeader: cluster_id uint64 1, member_id uint64 2, revision int64 3, raft_term uint64 4
RangeRequest: key bytes 1, range_end bytes 2, limit int64 3, revision int64 4, serializable bool 7, keys_only bool 8, count_only bool 9
RangeResponse: header ResponseHeader 1, kvs KeyValue* 2, more bool 3, count int64 4
PutRequest: key bytes 1, value bytes 2, lease int64 3, prev_kv bool 4
PutResponse: header ResponseHeader 1, prev_kv KeyValue 2
DeleteRangeRequest: key bytes 1, range_end bytes 2, prev_kv bool 3
DeleteRangeResponse: header ResponseHeader 1, deleted int64 2, prev_kvs KeyValue* 3
RequestOp: request_range RangeRequest 1, request_put PutRequest 2, request_delete_range DeleteRangeRequest 3
ResponseOp: response_range RangeResponse 1, response_put PutResponse 2, response_delete_range DeleteRangeResponse 3
Compare: result int32 1, target int32 2, key bytes 3, mod_revision int64 6
TxnRequest: compare Compare* 1, success RequestOp* 2, failure RequestOp* 3
TxnResponse: header ResponseHeader 1, succeeded bool 2, responses ResponseOp* 3
CompactionRequest: revision int64 1, physical bool 2
CompactionResponse: header ResponseHeader 1
WatchCreateRequest: key bytes 1, range_end bytes 2, start_revision int64 3, progress_notify bool 4, prev_kv bool 6
WatchProgressRequest:
WatchRequest: create_request WatchCreateRequest 1, progress_request WatchProgressRequest 3
WatchResponse: header ResponseHeader 1, watch_id int64 2, created bool 3, canceled bool 4, compact_revision int64 5, cancel_reason string 6, events Event* 11
LeaseGrantRequest: TTL int64 1, ID int64 2
LeaseGrantResponse: header ResponseHeader 1, ID int64 2, TTL int64 3
StatusRequest:
StatusResponse: header ResponseHeader 1, version string 2, dbSize int64 3, leader uint64 4, dbSizeInUse int64 9
"""

_PACKAGE = "pilothouse.etcd"
_Field = descriptor_pb2.FieldDescriptorProto
_SCALARS = {
    "bytes": _Field.TYPE_BYTES, "string": _Field.TYPE_STRING, "bool": _Field.TYPE_BOOL, "int32": _Field.TYPE_INT32,
    "int64": _Field.TYPE_INT64, "uint64": _Field.TYPE_UINT64,
}  # fmt: skip


def _add_field(message: descriptor_pb2.DescriptorProto, text: str) -> None:
    name, kind, number = text.split()
    label = _Field.LABEL_REPEATED if kind.endswith("*") else _Field.LABEL_OPTIONAL
    kind = kind.rstrip("*")
    field = message.field.add(name=name, number=int(number), label=label)
    if kind in _SCALARS:
        field.type = _SCALARS[kind]
    else:
        field.type = _Field.TYPE_MESSAGE
        field.type_name = f".{_PACKAGE}.{kind}"


def _classes() -> dict[str, Any]:
    # proto2, so that a field set to 0 is sent: the comparison "mod revision is 0" needs that.
    file = descriptor_pb2.FileDescriptorProto(name="pilothouse/etcd.proto", package=_PACKAGE, syntax="proto2")
    for line in _TABLE.strip().splitlines():
        name, _, fields = line.partition(":")
        message = file.message_type.add(name=name)
        for text in filter(None, fields.strip().split(", ")):
            _add_field(message, text)
    pool = descriptor_pool.DescriptorPool()
    pool.Add(file)
    return {
        m.name: message_factory.GetMessageClass(pool.FindMessageTypeByName(f"{_PACKAGE}.{m.name}")) for m in file.message_type
    }


#: Message classes by name.
MESSAGES = _classes()

#: gRPC methods: path, request, response.
METHODS = {
    "Range": ("/etcdserverpb.KV/Range", "RangeRequest", "RangeResponse"),
    "Put": ("/etcdserverpb.KV/Put", "PutRequest", "PutResponse"),
    "DeleteRange": ("/etcdserverpb.KV/DeleteRange", "DeleteRangeRequest", "DeleteRangeResponse"),
    "Txn": ("/etcdserverpb.KV/Txn", "TxnRequest", "TxnResponse"),
    "Compact": ("/etcdserverpb.KV/Compact", "CompactionRequest", "CompactionResponse"),
    "LeaseGrant": ("/etcdserverpb.Lease/LeaseGrant", "LeaseGrantRequest", "LeaseGrantResponse"),
    "Status": ("/etcdserverpb.Maintenance/Status", "StatusRequest", "StatusResponse"),
}
WATCH = ("/etcdserverpb.Watch/Watch", "WatchRequest", "WatchResponse")

EQUAL, MOD = 0, 2  # Compare.result, Compare.target
DELETE = 1  # Event.type
