import Testing

@testable import MartletFormat

/// Handler times by types of events.
@Suite struct HandlerTimesByTypeTests {
    @Test func `types that are too many or too long are one line, and their calls count`() {
        var times = HandlerTimesByType()
        #expect(times.isEmpty && times.total.isEmpty)
        let long = String(repeating: "x", count: HandlerTimesByType.typeBytesMax)
        times.add(nanoseconds: 1, type: long)
        times.add(nanoseconds: 1, type: long + "x")
        #expect(times.lines.keys.sorted() == [HandlerTimesByType.other, long])
        for number in 0..<100 { times.add(nanoseconds: 5, type: "\(number)") }
        #expect(times.lines.count == HandlerTimesByType.typesMax + 1)
        #expect(times.total.count == 102 && times.total.sum == 502)
        // One that is known goes on to be told by itself.
        times.add(nanoseconds: 9, type: "0")
        #expect(times.lines["0"]?.count == 2)
    }

    @Test func `what others say is added type by type, within the same bound`() {
        var first = HandlerTimesByType()
        var second = HandlerTimesByType()
        for number in 0..<15 { first.add(nanoseconds: 1, type: "a\(number)") }
        for number in 0..<15 { second.add(nanoseconds: 1, type: "b\(number)") }
        second.add(nanoseconds: 1, type: "a0")
        first.add(second)
        #expect(first.lines.count == HandlerTimesByType.typesMax + 1)
        #expect(first.lines["a0"]?.count == 2 && first.total.count == 31)
        first.add(HandlerTimes(), type: "none")
        #expect(first.lines["none"] == nil)
    }
}
