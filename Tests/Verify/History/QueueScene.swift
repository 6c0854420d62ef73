/// The queue groups of a run, and what each of them is there for. By the word with which its members
/// begin.
enum QueueScene: String, CaseIterable {
    /// Any order; some records die, others are sent again.
    case free = "queue"
    /// In order by key; what fails is parked, and released.
    case ordered
    /// Behind the retention of its topic.
    case passing

    var group: String {
        switch self {
        case .free: HistoryWorker.queueGroup
        case .ordered: HistoryWorker.orderedGroup
        case .passing: HistoryWorker.passingGroup
        }
    }

    var topic: String {
        switch self {
        case .free, .ordered: HistoryWorker.topic
        case .passing: HistoryWorker.passingTopic
        }
    }

    /// Who fails for ever is never tried again.
    var buries: Bool {
        switch self {
        case .free, .passing: true
        case .ordered: false
        }
    }

    /// Nothing is taken from it by retention.
    var keepsAll: Bool {
        switch self {
        case .free, .ordered: true
        case .passing: false
        }
    }
}
