from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class DescribeAccessRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class DescribeAccessResponse(_message.Message):
    __slots__ = ("known_by", "token_file")
    KNOWN_BY_FIELD_NUMBER: _ClassVar[int]
    TOKEN_FILE_FIELD_NUMBER: _ClassVar[int]
    known_by: str
    token_file: str
    def __init__(self, known_by: _Optional[str] = ..., token_file: _Optional[str] = ...) -> None: ...
