import MartletFormat
import MartletSystem
import MartletWire

/// A request as it lies in its connection's input. Valid until the handler returns.
struct Frame {
    let header: FrameHeader
    let slab: ByteSlab
    let payload: Range<Int>

    /// Reads the payload as `Message`, with its attachment's range.
    func decode<Message: WireRequest>(
        _ type: Message.Type
    ) throws(WireError) -> (message: Message, attachment: Range<Int>) {
        try Message.decode(slab, payload, version: header.version)
    }
}

/// A decoded request and whom to answer. Kept as long as the answer takes.
struct Request<Message: WireRequest>: Sendable {
    let message: Message
    let header: FrameHeader
    let connection: Connection
    let session: Authenticated

    /// Answers on the connection's loop, inside a turn.
    func reply(_ reply: Message.Reply) {
        connection.reply(reply, to: header)
    }

    func reply(_ error: ErrorCode, _ text: String? = nil) {
        connection.reply(error: error, text ?? error.text, to: header)
    }

    /// Does `work` where it may block, and answers with what it returns.
    func answer(
        on executor: any Executor,
        _ work: @escaping @Sendable (Request<Message>) -> Message.Reply
    ) {
        executor.execute {
            let result = work(self)
            connection.loop.post(.run { self.reply(result) })
        }
    }
}

/// What became of a frame.
enum Disposition {
    /// It was handled, or will be answered later; its bytes are not needed any more.
    case taken
    /// The storage takes nothing now. The frame stays where it is.
    case held(PendingProduce)
}
