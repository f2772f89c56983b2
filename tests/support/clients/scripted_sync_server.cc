#include "tests/support/clients/scripted_sync_server.h"

#include <fmt/format.h>
#include <httplib.h>

#include <condition_variable>
#include <mutex>
#include <thread>

namespace sluice::testing {

struct ScriptedSyncServer::Impl {
  httplib::Server http;
  std::thread thread;
  int port = 0;
  mutable std::mutex mutex;
  std::condition_variable changed;
  std::string entities;
  int entities_status = 200;
  std::string entities_retry_after;
  size_t entities_requests = 0;
  std::vector<ScriptedAnswer> script;
  size_t next = 0;
  std::function<ScriptedAnswer(const StreamRequest&)> answer_with;
  std::function<std::string()> entities_with;
  std::vector<StreamRequest> requests;
  bool stopping = false;

  ScriptedAnswer Next(const httplib::Request& request) {
    const std::lock_guard lock(mutex);
    requests.push_back({request.path, request.get_header_value("Authorization"), request.body});
    if (answer_with) {
      return answer_with(requests.back());
    }
    const size_t at = next + 1 < script.size() ? next++ : next;
    return script.empty() ? ScriptedAnswer{.status = 503} : script[at];
  }

  // Small writes until the client's end is noticed: a held stream has no other sign of it.
  bool Hold(httplib::DataSink& sink) {
    std::unique_lock lock(mutex);
    while (!stopping && sink.is_writable()) {
      changed.wait_for(lock, std::chrono::milliseconds(20));
      const std::string beat = "{\"heartbeat\":{\"position\":\"0\"}}\n";
      if (!sink.write(beat.data(), beat.size())) {
        break;
      }
    }
    return false;
  }

  void Stream(const httplib::Request& request, httplib::Response& response) {
    const ScriptedAnswer answer = Next(request);
    response.status = answer.status;
    if (!answer.retry_after.empty()) {
      response.set_header("Retry-After", answer.retry_after);
    }
    if (!answer.location.empty()) {
      response.set_header("Location", answer.location);
    }
    if (answer.status != 200) {
      response.set_content(answer.body, "application/problem+json");
      return;
    }
    response.set_chunked_content_provider(
        "application/x-ndjson", [this, answer](size_t, httplib::DataSink& sink) {
          if (!answer.body.empty() && !sink.write(answer.body.data(), answer.body.size())) {
            return false;
          }
          switch (answer.end) {
            case ScriptedAnswer::End::kClean:
              sink.done();
              return true;
            case ScriptedAnswer::End::kCut:
              return false;
            case ScriptedAnswer::End::kHold:
              return Hold(sink);
          }
          return false;
        });
  }
};

ScriptedSyncServer::ScriptedSyncServer(std::string entities) : impl_(std::make_unique<Impl>()) {
  Impl& impl = *impl_;
  impl.entities = std::move(entities);
  impl.http.Post(R"(/v1/orgs/([a-z0-9-]+)/stream)",
                 [&impl](const httplib::Request& request, httplib::Response& response) {
                   impl.Stream(request, response);
                 });
  impl.http.Get(R"(/v1/orgs/([a-z0-9-]+)/entities)",
                [&impl](const httplib::Request&, httplib::Response& response) {
                  const std::lock_guard lock(impl.mutex);
                  ++impl.entities_requests;
                  response.status = impl.entities_status;
                  if (!impl.entities_retry_after.empty()) {
                    response.set_header("Retry-After", impl.entities_retry_after);
                  }
                  response.set_content(impl.entities_with ? impl.entities_with() : impl.entities,
                                       "application/json");
                });
  impl.port = impl.http.bind_to_any_port("127.0.0.1");
  impl.thread = std::thread([&impl] { impl.http.listen_after_bind(); });
}

ScriptedSyncServer::~ScriptedSyncServer() {
  {
    const std::lock_guard lock(impl_->mutex);
    impl_->stopping = true;
  }
  impl_->changed.notify_all();
  // stop() before the listener runs would be lost.
  while (!impl_->http.is_running()) {
    std::this_thread::yield();
  }
  impl_->http.stop();
  impl_->thread.join();
}

std::string ScriptedSyncServer::url() const {
  return fmt::format("http://127.0.0.1:{}", impl_->port);
}

void ScriptedSyncServer::Script(std::vector<ScriptedAnswer> answers) {
  const std::lock_guard lock(impl_->mutex);
  impl_->script = std::move(answers);
  impl_->next = 0;
  impl_->requests.clear();
}

void ScriptedSyncServer::AnswerWith(std::function<ScriptedAnswer(const StreamRequest&)> answer,
                                    std::function<std::string()> entities) {
  const std::lock_guard lock(impl_->mutex);
  impl_->answer_with = std::move(answer);
  impl_->entities_with = std::move(entities);
}

void ScriptedSyncServer::SetEntities(std::string entities, int status, std::string retry_after) {
  const std::lock_guard lock(impl_->mutex);
  impl_->entities = std::move(entities);
  impl_->entities_status = status;
  impl_->entities_retry_after = std::move(retry_after);
}

std::vector<StreamRequest> ScriptedSyncServer::requests() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->requests;
}

size_t ScriptedSyncServer::entities_requests() const {
  const std::lock_guard lock(impl_->mutex);
  return impl_->entities_requests;
}

}  // namespace sluice::testing
