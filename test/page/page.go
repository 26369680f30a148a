// Package page holds the tests of the agent's page in a real browser.
package page
