#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

namespace sluice::testing {

// What the server does with one stream request.
struct ScriptedAnswer {
  int status = 200;
  std::string body = {};
  enum class End {
    kClean,  // as a server ends a stream
    kCut,    // the connection breaks after `body`
    kHold,   // stays open until the client goes, or the server stops
  } end = End::kClean;
  std::string retry_after = {};
  std::string location = {};
};

struct StreamRequest {
  std::string path;
  std::string authorization;
  std::string body;
};

// A sync listener on a free port of 127.0.0.1 that answers stream requests in the order of its
// script, and the last answer again when the script has ended. Thread-safe.
class ScriptedSyncServer {
 public:
  // `entities` is the body for GET /v1/orgs/{org}/entities.
  explicit ScriptedSyncServer(std::string entities);
  ~ScriptedSyncServer();

  [[nodiscard]] std::string url() const;
  void Script(std::vector<ScriptedAnswer> answers);
  // Asks `answer` for each stream request instead, on a thread of the server's, and `entities`,
  // where given, for the entities; never both at once.
  void AnswerWith(std::function<ScriptedAnswer(const StreamRequest&)> answer,
                  std::function<std::string()> entities = nullptr);
  void SetEntities(std::string entities, int status = 200, std::string retry_after = {});
  [[nodiscard]] std::vector<StreamRequest> requests() const;
  [[nodiscard]] size_t entities_requests() const;

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace sluice::testing
