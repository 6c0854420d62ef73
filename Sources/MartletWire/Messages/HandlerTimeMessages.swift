package import MartletFormat

/// Calls of handlers that took about the same time.
package struct HandlerTimeBucket: WireItem {
    package static let bytesMin = 9
    package var bucket: UInt8 = 0
    package var count: UInt64 = 0

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.uint8("bucket", &bucket, "its number, from 0 to 20")
        try c.uint64("count", &count, "calls, from 1 on")
    }
}

/// How long handlers ran with events of one type.
package struct TypeTimesItem: WireItem {
    package static let bytesMin = 22
    package var type = ""
    package var times = HandlerTimesItem()

    package init() {}

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.string(
            "type", &type, max: HandlerTimesByType.typeBytesMax,
            "of the event: what the record's header `type` says; empty: none")
        try c.item("times", &times)
    }
}

extension HandlerTimesByType {
    /// nil for what no handlers can have taken.
    package init?(_ items: [TypeTimesItem]) {
        self.init()
        for item in items {
            guard let times = item.times.times else { return nil }
            add(times, type: item.type)
        }
    }

    /// In order of the types.
    package var items: [TypeTimesItem] {
        lines.sorted { $0.key < $1.key }.map { type, times in
            var item = TypeTimesItem()
            item.type = type
            item.times = HandlerTimesItem(times)
            return item
        }
    }
}

extension [TypeTimesItem] {
    /// nil for what no handlers can have taken.
    package var times: HandlerTimesByType? { HandlerTimesByType(self) }
}

extension FieldCoder where Self: ~Copyable {
    mutating func handled(_ items: inout [TypeTimesItem]) throws(WireError) {
        try array(
            "handled", &items, max: WireLimits.handledTypesMax,
            "how long handlers ran, by types of events")
    }
}

/// How long handlers ran.
package struct HandlerTimesItem: WireItem {
    package static let bytesMin = 20
    package var buckets: [HandlerTimeBucket] = []
    package var sumNanoseconds: Int64 = 0
    package var longestNanoseconds: Int64 = 0

    package init() {}

    package init(_ times: HandlerTimes) {
        buckets = times.buckets.map { bucket, count in
            var item = HandlerTimeBucket()
            item.bucket = UInt8(clamping: bucket)
            item.count = count
            return item
        }
        sumNanoseconds = times.sum
        longestNanoseconds = times.longest
    }

    /// nil for what no handlers can have taken.
    package var times: HandlerTimes? {
        HandlerTimes(
            buckets.map { (Int($0.bucket), $0.count) }, sum: sumNanoseconds,
            longest: longestNanoseconds)
    }

    package mutating func fields(_ c: inout some FieldCoder & ~Copyable) throws(WireError) {
        try c.array(
            "buckets", &buckets, max: WireLimits.handlerBucketsMax,
            "calls by their time, in order, without empty ones")
        try c.int64("sumNanoseconds", &sumNanoseconds, "of all calls; 0 without calls")
        try c.int64("longestNanoseconds", &longestNanoseconds, "the longest; in the last bucket")
    }
}
