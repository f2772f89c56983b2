#include "ops/program/answer_text.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace sluice::ops {
namespace {

TEST(AnswerTextTest, ListsAreTablesOfWhatPeopleLookFor) {
  EXPECT_EQ(AnswerText(
                R"({"orgs":[{"org":"acme","state":"ready","applied":7,"display_name":"Acme","x":1},
                      {"org":"a-longer-one","state":"closed"}],"next_page_token":""})"),
            "org           state   applied  display_name\n"
            "acme          ready   7        Acme\n"
            "a-longer-one  closed           \n");
  EXPECT_EQ(AnswerText(R"({"entities":[{"name":"item","primary_key":"id"}]})"), "name\nitem\n");
  EXPECT_EQ(AnswerText(R"({"sources":[]})"), "name  kind  entities  failing  rows  url\n");
}

TEST(AnswerTextTest, ASourceIsALineOfItsList) {
  EXPECT_EQ(AnswerText(R"({"sources":[
                {"name":"crm","kind":"odata","url":"https://crm","entities":{
                  "a":{"state":"failing","rows":2},"b":{"state":"following","rows":3}},
                 "source":{"state":"failing"}},
                {"name":"shop","kind":"debezium","brokers":"k:1"}]})"),
            "name  kind      entities  failing  rows  url\n"
            "crm   odata     2         2        5     https://crm\n"
            "shop  debezium  0         0        0     k:1\n");
}

TEST(AnswerTextTest, AnObjectHasLinesAndThenTables) {
  EXPECT_EQ(AnswerText(R"({"name":"crm","keys":["k1"],"entities":{
                "a":{"state":"failing","rows":2,"last_error":{"code":"gone","detail":"no\u001b[2J"}},
                "b":{"state":"following","percent":100}},"refused":[]})"),
            "keys           [\"k1\"]\n"
            "name           crm\n"
            "refused        []\n"
            "\nentities\n"
            "name  state      rows  percent  last_error\n"
            "a     failing    2              gone: no\\u001b[2J\n"
            "b     following        100      \n");
}

TEST(AnswerTextTest, WhatASourceOffersIsTwoTables) {
  EXPECT_EQ(AnswerText(R"({"ok":true,"entities":{"a":{"primary_key":"id","attributes":[{},{}],
                "rows":5,"tracks_changes":false,"refused":[{"name":"g","code":"type_unsupported"}]}},
                "refused":[{"name":"b","code":"no_key","reason":"has no key"}]})"),
            "ok             true\n"
            "\nentities\n"
            "name  primary_key  attributes  rows  tracks_changes  refused\n"
            "a     id           2           5     false           1\n"
            "\nrefused\n"
            "name  code              reason\n"
            "b     no_key            has no key\n"
            "a.g   type_unsupported  \n");
}

TEST(AnswerTextTest, DefinitionsAndOtherTextsAreShownAsTheyAre) {
  EXPECT_EQ(AnswerText(R"({"offline":true,"entities":{"a":{"read":true}}})"),
            "entities       {\"a\":{\"read\":true}}\noffline        true\n");
  EXPECT_EQ(AnswerText("not \x1b[1m JSON"), "not \\u001b[1m JSON\n");
  EXPECT_EQ(AnswerText("[1]"), "[1]\n");
  EXPECT_EQ(AnswerText(R"({"sources":[{"name":1}]})"), "{\"sources\":[{\"name\":1}]}\n");
}

}  // namespace
}  // namespace sluice::ops
