#pragma once

#include <map>
#include <string>
#include <string_view>

namespace sluice::testing {

struct HttpReply {
  int status = 0;
  std::map<std::string, std::string> headers;  // names in lower case
  std::string body;
};

// A blocking connection to 127.0.0.1 that sends what it is told to, also what is no HTTP. Reads
// give up after 20 s.
class HttpSocket {
 public:
  explicit HttpSocket(int port);
  HttpSocket(const HttpSocket&) = delete;
  HttpSocket& operator=(const HttpSocket&) = delete;
  ~HttpSocket();

  void Send(std::string_view bytes);
  // A whole request; `headers` are lines that end with "\r\n".
  void Request(std::string_view method, std::string_view target, std::string_view headers,
               std::string_view body = "");
  // A head, and the body where its length is given. Status 0 when the connection has closed.
  HttpReply Read(bool with_body = true);
  // The next line of a chunked body, without its end; empty at the end.
  std::string ReadLine();
  // Has the peer closed, when all is read?
  bool Closed();
  int fd() const { return fd_; }

 private:
  bool Fill();

  int fd_ = -1;
  std::string buffer_;
  std::string lines_;
  bool ended_ = false;
};

}  // namespace sluice::testing
