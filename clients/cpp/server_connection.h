#pragma once

#include <chrono>
#include <functional>
#include <memory>
#include <string>
#include <string_view>

#include "absl/base/thread_annotations.h"
#include "absl/status/status.h"
#include "absl/status/statusor.h"
#include "absl/synchronization/mutex.h"
#include "clients/cpp/pull.h"
#include "schemas/base/backoff.h"

namespace sluice::client {

class HttpClient;

// The sync listener of one organisation, at whichever node it is now: follows a node's 307 or 308
// to another, up to kRedirectsMax in a row, and stays with that one until it fails.
//
// The bearer token goes along to the node that was named, which is of the same service: the answer
// that names it came from where the token had been sent. It goes to http and https only, never from
// https to http, and only where the path stays what it was, so that the sign-in page of a hotel's
// network gets none. Used by one thread at a time, but for Cancel() and cancelled().
class ServerConnection {
 public:
  static constexpr int kRedirectsMax = 5;
  // What is read of an error's body, and of the entities.
  static constexpr size_t kProblemBytesMax = 64 << 10;
  static constexpr size_t kEntitiesBytesMax = 16 << 20;

  // kInvalidArgument where url or organisation can't be.
  [[nodiscard]] static absl::StatusOr<std::unique_ptr<ServerConnection>> Open(
      const PullOptions& options);
  ~ServerConnection();

  using Receiver = std::function<absl::Status(std::string_view)>;
  // Asks for the stream; `receive` is called with the bytes of a 200's body as they come. Its error
  // ends the connection and is returned as it is. A server's refusal has its code (ToRefusal());
  // kUnavailable is worth another attempt after Wait().
  [[nodiscard]] absl::Status Stream(const std::string& body, const Receiver& receive);
  // The body of GET /v1/orgs/{org}/entities; may be called while Stream() runs, by its receiver.
  [[nodiscard]] absl::StatusOr<std::string> Entities();

  // Before the next attempt, after the `failures`-th failure in a row: up to backoff_first, doubled
  // with each, up to backoff_max; and that after the time that the server asked for.
  // Returns early when cancelled.
  void Wait(int failures);
  // Ends what runs soon, and all that follows at once. Any thread.
  void Cancel();
  bool cancelled() const;

 private:
  // One request at a time each: the entities may be asked for while the stream runs.
  enum ChannelName : size_t { kStream, kEntities, kChannels };
  struct Channel {
    std::string base;
    std::shared_ptr<HttpClient> http;
  };
  struct Ask {
    ChannelName channel;
    std::string path;
    std::string body;  // empty: a GET, otherwise a POST
    std::string accept;
    size_t bytes_max = 0;  // of a 200's body; 0: no end to it
  };
  struct Answer;

  explicit ServerConnection(const PullOptions& options);
  absl::Status Send(const Ask& ask, const Receiver& receive);
  Answer SendTo(HttpClient& client, const std::string& base, const Ask& ask,
                const std::string& token, const Receiver& receive);
  absl::StatusOr<std::shared_ptr<HttpClient>> ClientFor(ChannelName channel,
                                                        const std::string& base);

  const PullOptions options_;
  std::string base_;  // of the node that answered last
  std::chrono::milliseconds retry_after_{0};
  Backoff backoff_{options_.backoff_first, options_.backoff_max, Backoff::Jitter::kFull};
  mutable absl::Mutex mutex_;
  bool cancelled_ ABSL_GUARDED_BY(mutex_) = false;
  Channel channels_[kChannels] ABSL_GUARDED_BY(mutex_);
};

// The server's refusal as a status. Trying again helps with kUnavailable only: 429, 5xx and what is
// no answer of a sync listener (3xx). Texts are PrintableMessage(). WipeDemanded() where the server
// said so in a 403, 404 or 410.
[[nodiscard]] absl::Status ToRefusal(int http_status, std::string_view body);

// Where a redirect from a request for `path` at `base` leads: scheme://host[:port]. kUnavailable,
// code "redirect_refused".
[[nodiscard]] absl::StatusOr<std::string> RedirectTarget(std::string_view base,
                                                         std::string_view path,
                                                         std::string_view location);

}  // namespace sluice::client
