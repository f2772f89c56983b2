#pragma once

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <openssl/ssl.h>
#include <signal.h>
#include <sys/socket.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <functional>
#include <memory>
#include <string>
#include <string_view>
#include <thread>
#include <utility>
#include <vector>

#include "absl/base/thread_annotations.h"
#include "absl/synchronization/mutex.h"
#include "tests/support/test_certificates.h"

namespace sluice::testing {

// A server on a free port of 127.0.0.1 that sends what it is told to, also what is no HTTP: each
// connection gets a thread that runs the handler, and is closed after it.
class ScriptedServer {
 public:
  // A connection, as the handler sees it.
  class Peer {
   public:
    Peer(ScriptedServer& server, int fd, SSL* ssl) : server_(server), fd_(fd), ssl_(ssl) {}

    // The request's head, and as much of its body as Content-Length says, for requests().
    void ReadRequest() {
      std::string text;
      size_t whole = std::string::npos;
      while (text.size() < whole && Fill(text)) {
        const size_t end = text.find("\r\n\r\n");
        const size_t length = text.find("Content-Length: ");
        if (end != std::string::npos) {
          whole = end + 4 + (length < end ? std::stoul(text.substr(length + 16)) : 0);
        }
      }
      absl::MutexLock lock(&server_.mutex_);
      server_.requests_.push_back(std::move(text));
    }
    // False when the peer has gone.
    bool Send(std::string_view bytes) {
      while (!bytes.empty()) {
        const auto sent = ssl_ == nullptr
                              ? ::send(fd_, bytes.data(), bytes.size(), MSG_NOSIGNAL)
                              : SSL_write(ssl_, bytes.data(), static_cast<int>(bytes.size()));
        if (sent <= 0) {
          return false;
        }
        bytes.remove_prefix(static_cast<size_t>(sent));
      }
      return true;
    }
    // Waits until the client closes the connection.
    void AwaitClose() {
      std::string ignored;
      while (Fill(ignored)) {
      }
    }
    // Says goodbye as TLS wants it.
    void Shutdown() {
      if (ssl_ != nullptr) {
        SSL_shutdown(ssl_);
      }
    }

   private:
    bool Fill(std::string& text) {
      char buffer[4096];
      const auto read = ssl_ == nullptr ? ::recv(fd_, buffer, sizeof(buffer), 0)
                                        : SSL_read(ssl_, buffer, sizeof(buffer));
      if (read > 0) {
        text.append(buffer, static_cast<size_t>(read));
      }
      return read > 0;
    }

    ScriptedServer& server_;
    int fd_;
    SSL* ssl_;
  };
  using Handler = std::function<void(Peer&)>;

  explicit ScriptedServer(Handler handler, const TestCertificates* certificates = nullptr)
      : handler_(std::move(handler)) {
    if (certificates != nullptr) {
      context_.reset(SSL_CTX_new(TLS_server_method()));
      EXPECT_EQ(SSL_CTX_use_certificate(context_.get(), certificates->server()), 1);
      EXPECT_EQ(SSL_CTX_use_PrivateKey(context_.get(), certificates->server_key()), 1);
    }
    listener_ = ::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    socklen_t size = sizeof(address);
    EXPECT_EQ(::bind(listener_, reinterpret_cast<sockaddr*>(&address), size), 0);
    EXPECT_EQ(::listen(listener_, 64), 0);
    EXPECT_EQ(::getsockname(listener_, reinterpret_cast<sockaddr*>(&address), &size), 0);
    port_ = ntohs(address.sin_port);
    acceptor_ = std::thread([this] { Accept(); });
  }
  ~ScriptedServer() {
    ::shutdown(listener_, SHUT_RDWR);
    acceptor_.join();
    ::close(listener_);
    {
      absl::MutexLock lock(&mutex_);
      for (const int fd : open_) {
        ::shutdown(fd, SHUT_RDWR);
      }
    }
    for (std::thread& thread : threads_) {
      thread.join();
    }
  }

  int port() const { return port_; }
  int connections() const { return connections_; }
  // What handlers have read.
  std::vector<std::string> requests() const {
    absl::MutexLock lock(&mutex_);
    return requests_;
  }
  // The names that clients asked a certificate for, empty for one that named none.
  std::vector<std::string> server_names() const {
    absl::MutexLock lock(&mutex_);
    return server_names_;
  }

 private:
  struct FreeContext {
    void operator()(SSL_CTX* context) const { SSL_CTX_free(context); }
  };

  void Accept() {
    for (int fd = Next(); fd >= 0; fd = Next()) {
      ++connections_;
      {
        absl::MutexLock lock(&mutex_);
        open_.push_back(fd);
      }
      threads_.emplace_back([this, fd] { Serve(fd); });
    }
  }
  int Next() const { return ::accept4(listener_, nullptr, nullptr, SOCK_CLOEXEC); }

  void Serve(int fd) {
    // OpenSSL writes without MSG_NOSIGNAL, and clients go whenever they like.
    sigset_t broken_pipe;
    sigemptyset(&broken_pipe);
    sigaddset(&broken_pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &broken_pipe, nullptr);
    SSL* ssl = nullptr;
    bool ready = true;
    if (context_ != nullptr) {
      ssl = SSL_new(context_.get());
      SSL_set_fd(ssl, fd);
      ready = SSL_accept(ssl) == 1;
    }
    if (ready) {
      if (ssl != nullptr) {
        const char* const name = SSL_get_servername(ssl, TLSEXT_NAMETYPE_host_name);
        absl::MutexLock lock(&mutex_);
        server_names_.emplace_back(name == nullptr ? "" : name);
      }
      Peer peer(*this, fd, ssl);
      handler_(peer);
    }
    SSL_free(ssl);
    absl::MutexLock lock(&mutex_);
    std::erase(open_, fd);
    ::close(fd);
  }

  const Handler handler_;
  std::unique_ptr<SSL_CTX, FreeContext> context_;
  int listener_ = -1;
  int port_ = 0;
  std::atomic<int> connections_{0};
  std::thread acceptor_;
  std::vector<std::thread> threads_;  // of the acceptor until it has ended
  mutable absl::Mutex mutex_;
  std::vector<int> open_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> requests_ ABSL_GUARDED_BY(mutex_);
  std::vector<std::string> server_names_ ABSL_GUARDED_BY(mutex_);
};

}  // namespace sluice::testing
