import MartletFormat

// The expectation macros cannot hold spans, so tests go through these, which take arrays.

extension RecordBatchBuilder {
    func add(
        key: [UInt8]? = nil,
        value: [UInt8]? = nil,
        headers: [(key: String, value: [UInt8]?)] = [],
        timestamp: Int64 = 0
    ) -> Bool {
        switch (key, value) {
        case (nil, nil):
            append(key: nil, value: nil, headers: headers, timestamp: timestamp)
        case (let key?, nil):
            unsafe append(
                key: key.span.bytes,
                value: nil,
                headers: headers,
                timestamp: timestamp
            )
        case (nil, let value?):
            unsafe append(
                key: nil,
                value: value.span.bytes,
                headers: headers,
                timestamp: timestamp
            )
        case (let key?, let value?):
            unsafe append(
                key: key.span.bytes,
                value: value.span.bytes,
                headers: headers,
                timestamp: timestamp
            )
        }
    }
}

func crc(_ bytes: [UInt8], continuing crc: UInt32 = 0) -> UInt32 {
    unsafe CRC32C.checksum(bytes.span.bytes, continuing: crc)
}

func softwareCRC(_ bytes: [UInt8], continuing crc: UInt32 = 0) -> UInt32 {
    unsafe CRC32C.software(bytes.span.bytes, continuing: crc)
}
