package check

import (
	"fmt"
	"strings"
)

// width is where lines of text for people are broken.
const width = 100

// Text is findings for people, and what could not be asked at all.
func Text(findings []Finding, unread []string) string {
	var b strings.Builder
	for _, f := range findings {
		where := f.ID
		if f.Broker != "" {
			where += " of " + f.Broker
		}
		fmt.Fprintf(&b, "%-8s %s\n", strings.ToUpper(string(f.Level)), where)
		paragraph(&b, "  ", f.Saw)
		if f.Means != "" {
			paragraph(&b, "  -> ", f.Means)
		}
		for _, r := range f.Do {
			label := "do"
			if r.Tool != AnyTool {
				label = r.Tool
			}
			first, rest, _ := strings.Cut(r.Text, "\n")
			fmt.Fprintf(&b, "  %s: %s\n", label, first)
			for _, line := range strings.Split(rest, "\n") {
				if line != "" {
					fmt.Fprintf(&b, "      %s\n", line)
				}
			}
		}
		b.WriteString("\n")
	}
	if severalTools(findings) {
		fmt.Fprintf(&b, "-tool %s tells the settings of one deployment tool alone (or %s)\n\n", Tools[0], strings.Join(Tools[1:], ", "))
	}
	return b.String() + summary(findings, unread) + "\n"
}

// severalTools tells whether there are remedies of more than one tool.
func severalTools(findings []Finding) bool {
	tools := map[string]bool{}
	for _, f := range findings {
		for _, r := range f.Do {
			tools[r.Tool] = r.Tool != AnyTool
		}
	}
	delete(tools, AnyTool)
	return len(tools) > 1
}

// summary is findings in one line.
func summary(findings []Finding, unread []string) string {
	n := func(level Level) int { return Count(level, findings) }
	return fmt.Sprintf("%s for earlybind: %s, %s, %d unknown, %d fit", Judgement(findings, unread), of(n(Blocker), "blocker"), of(n(Note), "note"), n(Unknown), n(Fit))
}

// paragraph writes a text with its first line and the others indented alike. What is longer
// than a line, as a command, is not broken.
func paragraph(b *strings.Builder, indent, text string) {
	line := indent
	for i, word := range strings.Fields(text) {
		if i > 0 && len(line)+1+len(word) > width {
			fmt.Fprintln(b, strings.TrimRight(line, " "))
			line = strings.Repeat(" ", len(indent))
		} else if i > 0 {
			line += " "
		}
		line += word
	}
	fmt.Fprintln(b, line)
}
